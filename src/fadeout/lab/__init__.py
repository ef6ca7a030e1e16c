"""lab: the whole story of the vanishing gradient, a classic a file, in the reader's order.

To add one, write a file with an `EXPERIMENT` and name it here.
"""

import difflib

from fadeout.errors import FadeoutError
from fadeout.lab import (
    activation,
    attention,
    batchnorm,
    depth,
    frozen,
    handmade,
    initialisation,
    optimizers,
    precision,
    product,
    recurrent,
    residual,
    today,
)
from fadeout.lab.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    product.EXPERIMENT,
    frozen.EXPERIMENT,
    depth.EXPERIMENT,
    handmade.EXPERIMENT,
    activation.EXPERIMENT,
    initialisation.EXPERIMENT,
    batchnorm.EXPERIMENT,
    residual.EXPERIMENT,
    recurrent.EXPERIMENT,
    attention.EXPERIMENT,
    precision.EXPERIMENT,
    optimizers.EXPERIMENT,
    today.EXPERIMENT,
)


def named(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        FadeoutError: If there is none; it names the nearest.
    """
    found = {experiment.name: experiment for experiment in EXPERIMENTS}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FadeoutError(f"lab: there is no experiment {name!r}; {hint}It is one of {', '.join(found)}")
    return found[name]
