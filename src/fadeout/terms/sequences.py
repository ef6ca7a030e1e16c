"""Terms of sequences: through time, across tokens, and of residual streams."""

from fadeout.terms.term import Term, term

SEQUENCES: tuple[Term, ...] = (
    term(
        "horizon",
        "For a recurrent layer: how many time steps back the gradient of the last step's loss has lost one decade. It "
        "is roughly how far back the layer learns from directly.",
        also="remembers",
        more="docs/time.md",
    ),
    term(
        "reach",
        "How far back along a sequence the gradient gets, in decades: for a recurrent layer the gradient at the first "
        "time step over that at the last.",
        more="docs/sequences.md",
    ),
    term(
        "reach map",
        "Which input positions a few output positions get their gradient from, measured with one backward pass for "
        "each. It is made if you ask for it: `reach=16`.",
        also="distance curve, distance_curve",
        more="docs/time.md",
    ),
    term(
        "loop",
        "A recurrence that is written in Python: a module, or lines of code, that run eight times or more, each time "
        "on their own last result, on new data and with the same weights. A stack of layers is none, nor is an "
        "iteration towards a fixed point.",
        also="loops, hand-written loop, hand-written loops",
        more="FO108, docs/time.md",
    ),
    term(
        "decay",
        "A fixed factor by which a loop multiplies its state, the same at every step. Below 1 the gradient fades "
        "along time by that factor a step.",
        also="decays",
        more="FO108",
    ),
    term("lag", "Time steps back, counted from the last one.", also="lags, steps back"),
    term(
        "paths",
        "The ways the gradient takes back through time: 'cell' through the forget gates alone, 'hidden' at least once "
        "through the recurrent weights, 'above' down from the layer above. Their shares add up to 1.",
        also="cell, hidden, above",
        more="docs/time.md",
    ),
    term(
        "gate horizon",
        "How many tokens a gate or a linear recurrence (Mamba and its kin) takes to forget one decade. It is read from "
        "the parameters alone, without data.",
        also="gate_horizon, slowest head",
        more="FO204, docs/time.md",
    ),
    term(
        "truncation",
        "The graph of a recurrence ends before its sequence does, usually by a detach() between two steps. What lies "
        "before gets no gradient.",
        also="cut, truncated",
        more="FO207",
    ),
    term(
        "spectrum",
        "The largest singular values of one time step's Jacobian: how much one step back can stretch or shrink the "
        "gradient at most.",
        also="singular values, spectral radius, jacobian",
        more="docs/time.md",
    ),
    term(
        "live rows",
        "The share of an attention's softmax rows that still pass a gradient: more than a thousandth of what even "
        "attention would pass.",
        also="live, live_rows, live heads",
        more="FO203",
    ),
    term(
        "entropy",
        "How evenly an attention spreads over the positions, from 0 (all on one) to 1 (even).",
        more="FO203",
    ),
    term(
        "rank collapse",
        "The tokens have become nearly alike behind an attention. Measured as their distance from their mean over the "
        "size of the stream: 1 is apart, 0 all alike.",
        also="rank_collapse, tokens apart",
        more="FO208",
    ),
    term(
        "residual streams",
        "Several residual streams side by side that are mixed at every layer (hyper-connections). The report says what "
        "the product of all mixings does to signal and gradient.",
        also="streams, stream, residual stream",
        more="FO202",
    ),
)
