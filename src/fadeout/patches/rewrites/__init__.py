"""Rewrites: how an edit of the live network is written into the source, a kind a file."""

from collections.abc import Callable, Sequence

from fadeout.patches.placing import Work
from fadeout.patches.rewrites import attribute, ends, function, init, module, norm, optimizer, skip
from fadeout.treatments.patient import Edit

Rewrite = Callable[[Sequence[Edit], Work], None]

REWRITES: tuple[tuple[str, Rewrite], ...] = (
    ("module", module.rewrite),
    ("function", function.rewrite),
    ("norm", norm.rewrite),
    ("skip", skip.rewrite),
    ("attribute", attribute.rewrite),
    ("optimizer", optimizer.rewrite),
    ("input", ends.rewrite_input),
    ("output", ends.rewrite_output),
    ("init", init.rewrite),  # last: on the program that the others have written
)
