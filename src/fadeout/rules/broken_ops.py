"""Broken operations: what helps where an operation made the first value that is not finite.  No torch."""

from fadeout.records import Origin

_LOGITS = "computing the loss from logits: log_softmax, cross_entropy, binary_cross_entropy_with_logits"
_BY_OP: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("ctc_loss",),
        (
            "dropping the rows whose target is longer than their input (repeated labels need a blank between them)",
            "zero_infinity=True in ctc_loss, which leaves those rows out of the loss",
        ),
    ),
    (("log", "log2", "log10"), (_LOGITS, "an epsilon inside: log(x + 1e-8), or log1p(x)")),
    (("xlogy", "entr", "kl_div"), ("an epsilon inside the logarithm", _LOGITS)),
    (("sqrt", "rsqrt"), ("an epsilon inside: sqrt(x + 1e-8); the slope of sqrt is infinite at 0",)),
    (
        ("norm", "linalg_vector_norm", "vector_norm", "linalg_norm", "cdist", "pairwise_distance", "std", "var"),
        ("an epsilon under the root: (x * x).sum().add(1e-12).sqrt(); a norm has no slope at 0",),
    ),
    (
        ("acos", "asin", "arccos", "arcsin", "atanh"),
        ("clamping the argument to [-1 + 1e-6, 1 - 1e-6]: the slope is infinite at -1 and 1",),
    ),
    (
        ("div", "rdiv", "truediv", "rtruediv", "true_divide", "reciprocal"),
        ("an epsilon in the divisor, or clamping it away from 0", "checking what divides: a count, a norm, a mask"),
    ),
    (
        ("where", "masked_fill"),
        (
            "a safe value inside the where: the branch that is not taken still runs, and 0 times inf is nan on the way "
            "back: where(ok, x / where(ok, d, 1), 0)",
        ),
    ),
    (("exp", "expm1", "exp2", "cosh", "sinh"), ("clamping the exponent, or subtracting its maximum first", "float32")),
    (
        ("softmax", "log_softmax", "scaled_dot_product_attention", "multi_head_attention_forward"),
        (
            "a mask that leaves at least one entry in every row: a row of -inf alone has no softmax",
            "a large negative number, -1e9, in place of -inf",
        ),
    ),
    (("pow", "rpow", "float_power"), ("a base kept above 0: powers below 1 have an infinite slope at 0",)),
    (
        ("svd", "linalg_svd", "eigh", "linalg_eigh", "linalg_eig", "eig", "qr", "linalg_qr"),
        ("a small random or diagonal shift: the gradient divides by differences of equal singular values",),
    ),
    (
        ("inv", "linalg_inv", "inverse", "solve", "linalg_solve", "cholesky", "linalg_cholesky", "logdet", "slogdet"),
        ("adding 1e-6 times the identity before it: the matrix is singular, or nearly so",),
    ),
    (
        ("half", "to", "float", "type", "bfloat16"),
        ("float32 or bf16 there: float16 ends at 65,504", "a smaller loss: a mean in place of a sum, scaled targets"),
    ),
)
_BY_PLACE = {
    "parameters": ("restarting from a sound checkpoint with a smaller learning rate",),
    "input": ("checking the batch for nan and inf before it enters the model",),
    "forward": ("smaller initial weights or a normalisation before that operation", "float32 or bf16 there"),
    "loss": ("computing the loss from logits", "an epsilon inside log, sqrt or division"),
    "backward": ("an epsilon inside sqrt or division: their slope is infinite at 0",),
}


def remedies(origin: Origin) -> tuple[str, ...]:
    """Advice by operation; by place where the operation says nothing."""
    if origin.where in ("parameters", "input"):
        return _BY_PLACE[origin.where]
    name = "where" if origin.masked else origin.op.strip("_")
    found = next((words for ops, words in _BY_OP if name in ops), ())
    return found or _BY_PLACE[origin.where]


def rows_of(origin: Origin) -> str:
    """', in row 3 of 16 of the batch'; '' where rows say nothing."""
    if not origin.rows or len(origin.rows) >= origin.of:
        return ""
    named = ", ".join(str(n) for n in origin.rows[:4]) + (" and more" if len(origin.rows) > 4 else "")
    return f", in row{'s' if len(origin.rows) > 1 else ''} {named} of {origin.of:,} (from 0)"
