"""Terms of the verdict and of progress: what the first line of a report says."""

from fadeout.terms.term import Term, term

VERDICTS: tuple[Term, ...] = (
    term(
        "verdict",
        "One word for the whole exam. It is the label of the first alarm; without an alarm it is 'flows', and "
        "'undetermined' where nothing could be judged.",
        more="docs/truth.md",
    ),
    term(
        "flows",
        "No alarm was found: the gradient gets from the loss to the first layer. It says nothing about whether the "
        "network will reach a good accuracy.",
        also="flow",
    ),
    term(
        "vanishing",
        "The gradient that reaches the first layers is orders of magnitude smaller than at the last layer, so the "
        "first layers hardly learn from the loss.",
        also="vanishes, vanishing gradient, fade, fades, fading",
        more="FO101, FO108, docs/theory.md",
    ),
    term(
        "exploding",
        "The gradient grows by orders of magnitude on its way to the first layer, or training diverges.",
        also="explodes, exploding gradient, blow-up",
        more="FO102",
    ),
    term(
        "dead",
        "A unit is dead if the slope of its activation is exactly 0 on every row that was seen. It sends nothing "
        "forward and gets no gradient to recover by. As a verdict: so many units are dead that learning stops.",
        also="dead unit, dead units, dying relu",
        more="FO105",
    ),
    term(
        "saturated",
        "The share of an activation's elements that sit far out on its flat sides, where the slope is below 8 % of "
        "the largest. It is measured for bounded activations only (sigmoid, tanh and their like). As a verdict: so "
        "many are saturated that the layers behind get next to no gradient.",
        also="saturation, saturated activation",
        more="FO106",
    ),
    term(
        "bad_init",
        "The initial weights are such that training can hardly leave them: all units of a layer start alike, or the "
        "first output is far too large. Too large means tens of times the targets, or a loss many times that of the "
        "best constant output.",
        also="bad init, bad initialisation, bad initialization",
        more="FO107",
    ),
    term(
        "severed",
        "No gradient at all reaches layers that should be trained, for example because of a detach() or a no_grad() "
        "on the way; or one term of a summed loss reaches nothing that is trained. The report names the operation and "
        "its source line where it could see them.",
        also="severed gradient, cut off, no gradient",
        more="FO103",
    ),
    term(
        "not_finite",
        "The loss, an activation, a gradient or a parameter is inf or nan. The report names the first operation that "
        "made such a value, and the rows of the batch in which it did.",
        also="not finite, nan, inf, origin",
        more="FO104",
    ),
    term(
        "undetermined",
        "The exam could not judge, and its sentence says why. For example, the loss sent no gradient on this batch, or "
        "a part of the network starts at exactly zero and one step says nothing about what is behind it.",
    ),
)

PROGRESS: tuple[Term, ...] = (
    term(
        "progress",
        "Progress compares the network with the best output that ignores the input: 0 means no better, 1 means "
        "nothing left to learn. It is known only if training steps were done (steps=), and never raises an alarm by "
        "itself.",
        also="learned",
        more="docs/findings/index.md",
    ),
    term(
        "unknown",
        "Progress is unknown: a single step cannot tell whether a network learns. Give batches, an optimizer and "
        "steps=100, and a copy is trained to find out. It stays unknown where no output that ignores the input can be "
        "judged and the loss rises, or where the loss still falls at the end.",
    ),
    term(
        "learns",
        "The copy that was trained gets better than the best output that ignores the input, and no alarm or warning "
        "was found. It has gained at least 5 % of what there is to learn; from 35 % on we say that it learns well.",
        also="learns well",
    ),
    term(
        "handicapped",
        "The copy that was trained learns, but an alarm or a warning says that something holds it back or that a part "
        "of it stays untrained.",
    ),
    term(
        "does_not_learn",
        "After the training steps that were done on the copy the network is hardly better than the best output that "
        "ignores the input: it gained less than 5 % of what there is to learn. The report then begins with DOES NOT "
        "LEARN, even where the gradient flows.",
        also="does not learn, nothing is learned",
        more="FO302",
    ),
    term(
        "best constant output",
        "The best that a network could do without looking at its input: always answer the mean, or always the "
        "frequencies of the classes. Progress is measured from its loss.",
        also="constant, constant output",
    ),
    term(
        "plateau",
        "A long stretch of training in which nothing is learned, before learning sets in after all: at least 100 steps "
        "with a progress below 0.05.",
    ),
)
