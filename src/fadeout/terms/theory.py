"""Terms of theory: what is expected before a single step."""

from fadeout.terms.term import Term, term

THEORY: tuple[Term, ...] = (
    term(
        "forecast",
        "What theory expects of this network from its initialisation, beside the measurement. If both agree, the "
        "network does what it was built to do, and the cause is in its design.",
        also="predicted by theory, as designed, expected",
        more="docs/theory.md",
    ),
    term(
        "band",
        "The range in which 95 % of networks of this width would lie, by theory, with weights drawn at random.",
        also="off the prediction, finite width",
        more="docs/theory.md",
    ),
    term(
        "surprise",
        "A layer that lies outside the band of the forecast. Something is wired otherwise than it looks, or the "
        "weights are no longer random because they were trained.",
        also="surprises",
        more="docs/theory.md",
    ),
    term(
        "mean-field theory",
        "The theory of very wide networks with random weights. It says how signal and gradient change from layer to "
        "layer, from the activation and the initialisation alone.",
        also="mean field, theory",
        more="docs/theory.md",
    ),
    term(
        "sigma_w",
        "The scale of the initial weights, which are drawn with variance sigma_w^2 / fan_in. He initialisation has "
        "sigma_w = 1.41, PyTorch's default for linear layers 0.58.",
        also="sigma w",
        more="docs/theory.md",
    ),
    term(
        "sigma_b",
        "The scale of the initial biases, which are drawn with variance sigma_b^2.",
        also="sigma b",
        more="docs/theory.md",
    ),
    term("q", "The variance of a layer's outputs before the activation.", also="q*, variance", more="docs/theory.md"),
    term(
        "chi",
        "The factor by which the squared gradient norm changes in one layer, by theory. Below 1 the gradient fades, "
        "above 1 it explodes, at 1 it keeps its size.",
        more="docs/theory.md",
    ),
    term(
        "xi",
        "Depth scales, in layers: over about xi_c layers two different inputs become indistinguishable, and networks "
        "can be trained to a depth of about 6 xi_c. xi_q is the same for the size of the signal.",
        also="xi_c, xi_q, trainable depth",
        more="docs/theory.md",
    ),
    term(
        "critical",
        "An initialisation at which the gradient keeps its size through any number of layers (chi = 1). It lies "
        "between the ordered phase, where the gradient fades, and the chaotic phase, where it explodes.",
        also="edge of chaos, ordered, chaotic, phase, order, chaos",
        more="docs/theory.md",
    ),
)
