"""Terms of the account: what the operations between the loss and the data do to the gradient."""

from fadeout.terms.term import Term, term

ACCOUNT: tuple[Term, ...] = (
    term(
        "decades",
        "Powers of ten. A gradient that loses 3 decades arrives a thousand times smaller. An exam's `decades` compares "
        "the largest gradient that arrives at a first weight layer with the largest at a last one; it does not depend "
        "on the scale of the loss or of the input.",
        also="decade, log10",
        more="FO101, docs/theory.md",
    ),
    term(
        "gain",
        "What one operation does to the gradient: the norm behind it (nearer to the data) over the norm in front of it "
        "(nearer to the loss). Below 1 the gradient fades there.",
    ),
    term(
        "log gain",
        "log10 of a gain, in decades. Log gains add up along the way back; a negative one means that the gradient gets "
        "smaller there.",
        also="log_gain, log gains",
    ),
    term(
        "ledger",
        "The exact account of one backward pass: what every operation between the loss and the first layer does to "
        "the gradient, in decades. The entries add up to the whole, and the closing error says how well.",
        also="account of the gradient",
        more="ARCHITECTURE.md",
    ),
    term(
        "closing error",
        "How far the account is off: the gradient it ends with, held against the gradients that autograd itself "
        "returned. It should be next to zero.",
        also="closing_error",
    ),
    term(
        "unaccounted",
        "Something that the ledger could not price, with the reason. It is listed rather than hidden.",
        also="not in the account",
    ),
    term(
        "front",
        "All gradients that are under way at one moment of the backward pass: sent to an operation that has not run "
        "yet. Their joint norm is called J; it changes only when an operation runs, so every change has one owner.",
        also="J, in flight",
        more="ARCHITECTURE.md",
    ),
    term(
        "width",
        "Of a stage: how many gradients are under way where it ends. 1 is a point that every path crosses.",
    ),
    term(
        "stage",
        "A part of the network between two places where few gradients are under way, best a single one. A plain "
        "network has a stage for each layer, a residual network one for each block.",
        also="stages",
    ),
    term(
        "trunk",
        "The way from the loss to the data that passes the most layers with weights: what people mean by the main "
        "path of a network.",
    ),
    term(
        "chain",
        "A run of three or more weight layers one behind another with no way around them. A gradient that fades in a "
        "chain cannot reach the layers behind it by any other path.",
        also="chains",
    ),
    term(
        "nearly shut gate",
        "A trained factor at the end of a residual branch that starts near zero, such as a LayerScale of 1e-6. The "
        "gradient loses decades there only at the start, for the factor opens in the first steps. A verdict leaves "
        "them out: it is held against `ledger.opened`, the decades without `ledger.shut`.",
        also="nearly shut, nearly shut gates, opened, shut, LayerScale",
        more="FO101",
    ),
    term(
        "end",
        "A place where the account stops on the side of the data: an input, the output of an embedding, or the first "
        "trained operation of a part that no data enters.",
        also="ends",
    ),
    term(
        "loss side",
        "The side of an operation that is nearer to the loss. The gradient arrives there first.",
        also="loss side first",
    ),
    term(
        "data side",
        "The side of an operation that is nearer to the input data. The gradient leaves there.",
        also="data side first",
    ),
    term(
        "share",
        "The signed part of a gradient that came through one branch; the shares of all branches that meet add up to "
        "1. A negative share works against the others.",
        also="shares",
    ),
    term(
        "branch share",
        "The part of the gradient at a residual block's input that came through the branch; the rest came through the "
        "skip connection. A block whose branch share is near 0 contributes next to nothing.",
        also="branch, branches",
        more="FO201",
    ),
    term(
        "residual block",
        "One residual addition x + branch(x) with its branch. A transformer layer has two: attention and MLP.",
        also="block, blocks, residual blocks",
    ),
    term(
        "effective blocks",
        "How many equal blocks would carry the gradient as evenly: N = (sum of shares)^2 / sum of their squares. '64 "
        "blocks carry like 11' means that most of them have a very small branch share.",
        also="carry like, effective_blocks, N",
        more="FO201, docs/sequences.md",
    ),
    term(
        "influence",
        "How much a block or an attention turns the residual stream: 1 minus the cosine between the stream before and "
        "after it. Near 0 it changes nothing.",
    ),
)

KINDS: tuple[Term, ...] = (
    term(
        "kind",
        "What an operation does to the gradient, sorted into seven kinds: weight, slope, norm, skip, mix, loss and "
        "other. The decades of all kinds add up to the total.",
        also="kinds",
    ),
    term(
        "weight",
        "As a kind: operations that multiply by weights, such as linear layers and convolutions.",
        also="weights",
    ),
    term(
        "slope",
        "The derivative of an activation at the inputs that were measured. As a kind: what activations do to the "
        "gradient. Sigmoid's slope is at most 0.25, so each sigmoid takes at least 0.6 of a decade.",
        also="slopes, mean slope, mean_slope",
    ),
    term(
        "norm",
        "As a kind: normalisation, such as batch norm and layer norm. Elsewhere a norm is the Euclidean length of a "
        "gradient, the root of the sum of its squares.",
        also="norms, gradient norm, gradient_norm, normalisation, normalization",
    ),
    term(
        "skip",
        "As a kind: what happens where paths part and meet, at residual additions above all. A gradient that is sent "
        "two ways grows there, and it is counted here.",
        also="skips, skip connection",
    ),
    term(
        "mix",
        "As a kind: operations that combine or move elements without weights of their own, such as softmax, "
        "attention, pooling, means, concatenation and indexing.",
        also="mixing",
    ),
    term("loss", "As a kind: everything between the network's output and the scalar that is minimised."),
    term(
        "other",
        "As a kind: constant factors, dropout, and operations that stand in no table. Unknown ones are also listed as "
        "unaccounted.",
    ),
)
