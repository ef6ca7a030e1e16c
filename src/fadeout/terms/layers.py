"""Terms of layers: the columns of a profile."""

from fadeout.terms.term import Term, term

LAYERS: tuple[Term, ...] = (
    term(
        "effective depth",
        "How many layers are really trained: those that both still see the input and move. A network can have 21 "
        "layers on paper and none in practice.",
        also="effective_depth, on paper, in practice, layers trained",
    ),
    term(
        "sees",
        "A layer sees the input if its output still differs between samples. Behind layers that make all samples "
        "alike, a layer may move but cannot learn about the input.",
        also="see, seen, see the input",
    ),
    term(
        "moves",
        "A layer moves if the optimizer's next step changes its weights noticeably: by an update ratio no more than a "
        "hundred times below the largest of all layers.",
        also="move, moved, does not move",
    ),
    term("neither", "In the profile of layers: the layer neither sees the input nor moves.", also="do neither"),
    term(
        "between samples",
        "The share of a layer's output that differs from sample to sample, from 0 (all samples alike) to 1.",
        also="between_samples",
    ),
    term(
        "update ratio",
        "The size of one optimizer step over the size of the weights it changes (both as root mean square). About "
        "0.001 is usual; at 1 a step is as large as the weights themselves.",
        also="update_ratio, update",
        more="FO209, FO301",
    ),
    term(
        "first weight layer",
        "A first weight layer has no other layer with weights between it and the data; a last one has none between it "
        "and the loss. A network can have several of each.",
        also="first layer, first layers, last weight layer, last layer",
    ),
    term(
        "rms", "The root mean square: a size that does not grow with the number of elements.", also="root mean square"
    ),
    term(
        "underflow",
        "The share of a gradient's non-zero values that a number format such as float16 turns to zero, even if the "
        "largest value is scaled to the format's maximum.",
        also="flushed",
        more="FO205",
    ),
    term(
        "below eps",
        "The share of a layer's gradient that is smaller than ten times the optimizer's eps. Adam shortens its steps "
        "there.",
        also="below_eps, eps, epsilon",
        more="FO206",
    ),
    term(
        "dormant",
        "A unit is dormant if it responds far less than the other units of its layer. It need not be dead.",
        also="dormant unit, dormant units",
        more="FO218",
    ),
    term(
        "gate",
        "An activation whose output is multiplied with something else and so lets it pass or not, as in an LSTM.",
        also="gated, gates",
        more="docs/time.md",
    ),
    term(
        "not reached",
        "No path that was followed leads from the loss to this layer.",
        also="reached, out of reach",
    ),
)
