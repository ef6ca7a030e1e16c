"""Kinds: what an operation does to the gradient, by its row in `nodes`, who called it, and its inputs.

The node's name proposes; the module or function that owns it decides where one name serves
several (a multiplication is a slope, a norm, a weight or a gate); what is in no table is
"other" and is listed as unaccounted, so that nothing unknown hides among known things.
"""

import re
from functools import cache

from fadeout.probe.graph.nodes import NODES, Row
from fadeout.records import Kind

_FUNCTION: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "normalize layer_norm rms_norm batch_norm instance_norm group_norm local_response_norm cosine_similarity"
        ).split(),
        "norm",
    ),
    **dict.fromkeys("gelu silu mish softsign tanhshrink hardswish hardsigmoid logsigmoid softplus".split(), "slope"),
    **dict.fromkeys("softmax softmin gumbel_softmax scaled_dot_product_attention interpolate".split(), "mix"),
    **dict.fromkeys("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout".split(), "other"),
}
_SLOPE_CLASS = re.compile(
    r"gelu|silu|swish|relu|mish|sigmoid|tanh|[^a-z]elu|^elu|selu|celu|softplus|activation|snake|softsign|softshrink",
    re.I,
)
_NORM_CLASS = re.compile(r"norm(?!al(?!iz))|batchnorm|rmsnorm|layernorm|normaliz|^grn$|standardiz", re.I)


@cache
def base_name(node_name: str) -> str:
    """'torch::autograd::CopySlices' -> 'CopySlices', 'AddmmBackward0' -> 'Addmm'."""
    name = node_name.rsplit("::", 1)[-1].rstrip("0123456789")
    name = re.sub(r"Backward\d*Scalar$", "", name)
    stripped = re.sub(r"(Backward\d*)+(AutogradNestedTensor\d*)?$", "", name)
    return stripped or name


@cache
def is_double(node_name: str) -> bool:
    """Whether the node is the derivative of a derivative (a gradient penalty)."""
    return node_name.count("Backward") > 1


@cache
def row(node_name: str) -> Row:
    """The table's row of an operation; one that nothing is known of is "other"."""
    base = base_name(node_name)
    return NODES.get(base) or Row(base, "other")


@cache
def is_matrix(node_name: str) -> bool:
    """Whether the operation can apply a matrix of parameters."""
    return row(node_name).matrix


# Functions by which layers, and not products of parameters, apply their weights.
LAYER_FUNCTIONS = frozenset(
    """linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    multi_head_attention_forward""".split()
)


@cache
def operands(node_name: str) -> tuple[int, int]:
    """Places among a matrix operation's inputs: of what it usually reads, and of what it applies."""
    return row(node_name).operands


@cache
def is_embedding(node_name: str) -> bool:
    """Whether the operation looks rows up in a table."""
    return row(node_name).table and not is_double(node_name)


@cache
def is_isometry(node_name: str) -> bool:
    """Whether the gradient's norm passes unchanged where one edge comes in and one goes out."""
    return row(node_name).isometry and not is_double(node_name)


@cache
def is_add(node_name: str) -> bool:
    """Whether the operation adds tensors: the gradient goes both ways unchanged."""
    return base_name(node_name) in {"Add", "Sub", "Rsub"}


@cache
def is_elementwise_slope(node_name: str) -> bool:
    """Whether calling the node with ones gives the slope at every element."""
    return row(node_name).elementwise and not is_double(node_name)


@cache
def propose(node_name: str, function: str, owner: str) -> tuple[Kind, bool]:
    """Kind of an operation by its names alone, and whether any table knows it.

    Args:
        node_name: Name of the autograd node.
        function: The torch function the user called, "" where none was seen.
        owner: Class name of the innermost module, "" outside.
    """
    found = NODES.get(base_name(node_name))
    if found is not None and found.matrix:
        return "weight", True
    known = found.kind if found is not None else None
    if known == "loss":
        return "loss", True
    if owner and _NORM_CLASS.search(owner) and known is not None:
        return "norm", True
    if function in _FUNCTION and known is not None:
        return _FUNCTION[function], True
    if known in ("other", "slope", "norm", "mix") and owner and known != "mix" and _SLOPE_CLASS.search(owner):
        return "slope", True
    if known is not None:
        return known, True
    return "other", False


def decide(proposed: Kind, node_name: str, *, data_edges: int, parameter_edges: int, owner_has_weight: bool) -> Kind:
    """Kind of an operation once its inputs are known.

    Args:
        proposed: What `propose` said.
        node_name: Name of the autograd node.
        data_edges: Inputs that lead to the data.
        parameter_edges: Inputs that lead to parameters only.
        owner_has_weight: The innermost module holds a matrix of its own (a frozen one sends
            no edge).
    """
    base = base_name(node_name)
    if row(node_name).table and data_edges:
        return "mix"  # rows of a computed tensor
    if base in {"Mm", "Bmm", "Baddbmm", "Addbmm", "Mv", "Addmv", "Dot", "Vdot", "Einsum", "GroupedMm"} or (
        base == "Addmm" and data_edges > 1
    ):
        if is_double(node_name):
            return "weight" if parameter_edges else "mix"
        return "weight" if parameter_edges or (data_edges == 1 and owner_has_weight) else "mix"
    if base in {"Mul", "Div", "TrueDivide", "ForeachMul"} and proposed == "other":
        if data_edges > 1:
            return "slope"  # a gate
        return "weight" if parameter_edges else "other"
    return proposed


@cache
def readable(node_name: str) -> str:
    """'LogSoftmaxBackward0' -> 'log_softmax', for operations the user did not call by name."""
    base = base_name(node_name)
    if not node_name.endswith(tuple("0123456789")) and "::" not in node_name:
        return base  # a custom function keeps the name its author gave it
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", base).lower() or node_name
