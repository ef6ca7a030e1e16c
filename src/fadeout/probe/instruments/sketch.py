"""A sketch of the network: per operation the few numbers that mean-field theory needs.

Actual weights are read, never their intended distribution: sum W^2 / fan_out, the biases' and
gains' mean squares, the activation itself as a function, and shapes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call import privates
from fadeout.call.question import Question
from fadeout.probe.account.norms import lengths
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph import kinds
from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.graph import Graph, weights_around
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.alike import alike, uneven
from fadeout.probe.instruments.instrument import How, Instrument
from fadeout.probe.instruments.outputs import output_of
from fadeout.probe.later import Answer, Later
from fadeout.records import Kind

Phi = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Part:
    """One operation as theory sees it; nan and None where it can't be read.

    Attributes:
        gain: Squared gain of a weight, sum W^2 / units out; of a norm or scale, mean of its factor squared.
        bias: Mean square of the bias added.
        width: Units the weight feeds, for the spread at finite width.
        reads_units: Units the weight reads, for the same.
        phi: The activation.
        key: Of a weight: which one it is, to tell where one is used again.
        keep: Of a dropout: the share kept.
        reads, gives: Elements that go in and come out.
        outside: Of an addition: it adds a tensor that is neither data nor parameter.
        offset: Of an addition: the number it adds; of `c - x`, c.
        sign: Of a factor: -1 where it turns the sign.
        tokens: Of an attention: positions that are mixed.
        causal: Of an attention: position i sees only the first i.
    """

    base: str
    kind: Kind
    path: str
    gain: float = math.nan
    bias: float = 0.0
    width: int = 0
    reads_units: int = 0
    phi: tuple[str, Phi] | None = None
    keep: float = 1.0
    reads: int = 0
    gives: int = 0
    outside: bool = False
    offset: float = 0.0
    sign: float = 1.0
    key: int = 0
    tokens: int = 0
    causal: bool = False


@dataclass(slots=True)
class Sketch:
    """The operations between loss and data, ready for theory.

    Attributes:
        parts: Per node of the graph.
        edges: Per node: (input, target node, slot).
        matrix: Weight operations.
        to_data: Leads to data, and not only to a part that starts from parameters.
        ends: Per end: (mean square, share of it that differs between samples) of what enters there.
        rows: Samples of the batch.
        uneven: Per node where data enters: relative variance of the rows' mean squares.
        alike: Per last weight operation: how its gradient's rows share the norm and how far they point the
            same way, see `alike`; empty where no loss is known.
    """

    parts: list[Part]
    edges: list[list[tuple[int, int, int]]]
    matrix: list[bool]
    loss_side: list[bool]
    to_data: list[bool]
    ends: dict[Slot, tuple[float, float]] = field(default_factory=dict)
    rows: int = 1
    uneven: dict[int, float] = field(default_factory=dict)
    alike: dict[int, tuple[float, float]] = field(default_factory=dict)


class Sketcher(Instrument):
    """Watches one forward for shapes, then reads the graph's parameters."""

    hows = frozenset({"whole", "start"})

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self.modules: dict[str, nn.Module] = {}
        self._sketch: Sketch | None = None
        self._fill: Callable[[], None] | None = None
        self._later = Later()
        self._calls: dict[Node, tuple[tuple[torch.Size, ...], torch.Size, float]] = {}
        self._alike: dict[int, Answer] = {}
        self._has_loss = question.verb != "predict"

    @property
    def sketch(self) -> Sketch | None:
        """The sketch; the first look brings its numbers from the device."""
        if self._fill is not None:
            self._fill()
            self._fill = None
        return self._sketch

    def forward(self, names: Names) -> None:
        self._later = names.later
        names.listen(self, calls=None)
        self.modules = dict(names.modules)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """One function returned: keep the shapes of its tensors."""
        if node is not None and not out.is_nested:
            shapes = tuple(a.shape for a in args[:3] if isinstance(a, Tensor) and not a.is_nested)
            self._calls[node] = (shapes, out.shape, _constant(function, args))

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Modules say nothing that their operations do not."""

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        parts: list[Part] = []
        tensors: list[Tensor] = []
        waiting: list[tuple[Part, str, float]] = []

        def later(part: Part, name: str, tensor: Tensor, count: float) -> None:
            waiting.append((part, name, count))
            tensors.append(tensor.detach())

        for i, node in enumerate(graph.nodes):
            part = Part(base=kinds.base_name(graph.names[i]), kind=graph.kind[i], path=graph.path[i])
            parts.append(part)
            known = self._calls.get(node)
            if known is not None:
                shapes, out, _ = known
                part.gives = out.numel()
                part.reads = shapes[0].numel() if shapes else 0
            if i in graph.leaves:
                continue
            if "ScaledDotProduct" in part.base:
                part.tokens, part.causal = _attention(node)
            if graph.matrix[i]:
                self._read_weight(part, node, graph, i, later)
            elif part.kind == "norm" or part.base in ("Mul", "Add", "Sub", "Rsub"):
                self._read_gain(part, node, graph, i, later)
            elif part.kind == "slope":
                part.phi = activation_of(node, part.base)
            module = self.modules.get(part.path)
            if isinstance(module, privates.Dropout) and module.training:
                part.keep = 1.0 - float(module.p)
        ends: dict[Slot, tuple[float, float]] = {}
        entering = [
            (slot, output_of(leaf), self._later.ask([uneven(leaf)]) if leaf.layout == torch.strided else None)
            for slot in (*graph.ends, *graph.beginnings)
            if (leaf := graph.leaves.get(slot[0])) is not None and not leaf.is_complex() and leaf.numel()
        ]
        answer = self._later.ask(lengths(tensors))
        answers = [(slot, output, self._later.ask(output.scalars), spread) for slot, output, spread in entering]

        def fill() -> None:
            assert self._sketch is not None
            for (part, name, divisor), value in zip(waiting, answer.values, strict=True):
                setattr(part, name, value * value / max(1.0, divisor))
            for slot, output, numbers, spread in answers:
                if spread is not None and math.isfinite(spread.values[0]):
                    self._sketch.uneven[slot[0]] = spread.values[0]
                seen = output.seen(numbers.values)
                ends[slot] = (seen.rms**2, seen.between)
            for i, pair in self._alike.items():
                own, shared = pair.values
                if math.isfinite(own) and math.isfinite(shared):
                    self._sketch.alike[i] = (own, shared)
            for slot, (what, _) in graph.ends.items():
                if what == "embedding":
                    ends[slot] = (parts[slot[0]].gain, 1.0)

        self._fill = fill
        self._calls.clear()
        self._sketch = Sketch(
            parts=parts,
            edges=graph.edges,
            matrix=graph.matrix,
            loss_side=graph.loss_side,
            to_data=graph.to_data,
            ends=ends,
            rows=max((output.rows for _, output, _ in entering), default=1) or 1,
        )
        if not self._has_loss:
            return {}
        _, above = weights_around(graph.edges, graph.matrix, graph.to_data)
        return {i: self._see for i in range(len(parts)) if graph.matrix[i] and not above[i]}

    def _see(self, i: int, gradients: Any) -> None:
        first = next((g for g in gradients if g is not None), None)
        if first is None or first.layout != torch.strided or first.is_nested or first.is_complex():
            return
        if first.dim() >= 2 and first.numel():
            self._alike[i] = self._later.ask([alike(first)])

    def _read_weight(
        self, part: Part, node: Node, graph: Graph, i: int, later: Callable[[Part, str, Tensor, float], None]
    ) -> None:
        inputs = {e for e, _, _ in graph.edges[i]}
        found = [(e, *_leaf(n)) for e, (n, _) in enumerate(node.next_functions) if e not in inputs]
        weights = [(w, t) for _, w, t in found if w is not None and w.dim() >= 2]
        biases = [w for _, w, _ in found if w is not None and w.dim() == 1]
        if len(weights) != 1 and not (part.base.startswith("Embedding") and weights):
            return
        weight, transposed = weights[0]
        if part.base not in _READ:
            return
        part.key = id(weight)
        if part.base.startswith("Embedding"):
            later(part, "gain", weight, weight.numel())
            return
        if weight.dim() == 2:
            units = weight.shape[0] if transposed else weight.shape[1]
        else:
            module = self.modules.get(part.path)
            if isinstance(module, privates.ConvTranspose) or part.base not in (
                "Convolution",
                "MkldnnConvolution",
            ):
                return
            units = weight.shape[0]
        part.width = units * (math.prod(weight.shape[2:]) if weight.dim() > 2 else 1)
        part.reads_units = weight.numel() // max(1, units)
        later(part, "gain", weight, units / _inside(self.modules.get(part.path), weight, part, self._calls.get(node)))
        if biases:
            later(part, "bias", biases[0], biases[0].numel())

    def _read_gain(
        self, part: Part, node: Node, graph: Graph, i: int, later: Callable[[Part, str, Tensor, float], None]
    ) -> None:
        inputs = {e for e, _, _ in graph.edges[i]}
        leaves = [
            (e, w) for e, (n, _) in enumerate(node.next_functions) if e not in inputs and (w := _leaf(n)[0]) is not None
        ]
        if part.base in ("Mul", "Add", "Sub", "Rsub"):
            if len(graph.edges[i]) == 1 and len(leaves) == 1:
                later(part, "gain" if part.base == "Mul" else "bias", leaves[0][1], leaves[0][1].numel())
            elif len(graph.edges[i]) == 1 and part.base == "Mul":
                known = self._calls.get(node)
                part.sign = -1.0 if known is not None and known[2] < 0 else 1.0
                other = privates.saved(node, "other")
                if isinstance(other, (int, float, complex)):
                    part.gain = abs(other) ** 2
                elif isinstance(other, Tensor) and other.numel() == 1:
                    later(part, "gain", other if other.is_floating_point() else other.abs().float(), 1)
                else:
                    part.gain = math.nan
            elif len(graph.edges[i]) == 1:
                known = self._calls.get(node)
                part.outside = known is not None and (len(known[0]) > 1 or math.isnan(known[2]))
                times = privates.saved(node, "alpha", 1.0)
                part.offset = (known[2] if known is not None else math.nan) * float(times)
            return
        part.gain = 1.0
        for n, (_, parameter) in enumerate(leaves[:2]):
            later(part, "gain" if n == 0 else "bias", parameter, parameter.numel())


_ADDS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_TAKES = frozenset({"sub", "sub_", "subtract", "__sub__", "__isub__"})
_TURNS = frozenset({"rsub", "__rsub__"})
_TIMES = frozenset({"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"})


def _constant(function: str, args: tuple[Any, ...]) -> float:
    """The number that is added or multiplied with, c of `c - x`; 0 of other calls, nan where it is not to be seen."""
    if function not in _ADDS | _TAKES | _TURNS | _TIMES:
        return 0.0
    numbers = [float(a) for a in args[:2] if isinstance(a, (int, float))]
    if len(numbers) != 1:
        return 0.0 if len(args) > 1 else math.nan
    return -numbers[0] if function in _TAKES else numbers[0]


_READ = frozenset({"Addmm", "Mm", "Linear", "Convolution", "MkldnnConvolution", "Embedding", "EmbeddingBag"})


def _attention(node: Node) -> tuple[int, bool]:
    """Positions that an attention mixes, and whether each sees only those before it."""
    try:
        keys = privates.saved(node, "key")
        return int(keys.shape[-2]), bool(privates.saved(node, "is_causal", False))
    except (AttributeError, RuntimeError):  # saved under a checkpoint, or another kernel's names
        return 0, False


def _leaf(node: Node | None) -> tuple[Tensor | None, bool]:
    """The parameter behind a parameter-side input through at most a transpose and casts."""
    transposed = False
    for _ in range(4):
        if node is None:
            return None, transposed
        if node.name().endswith("AccumulateGrad"):
            return node.variable, transposed  # type: ignore[attr-defined]
        base = kinds.base_name(node.name())
        if base in ("T", "Transpose"):
            transposed = not transposed
        elif base not in ("ToCopy", "View", "Alias", "Unsqueeze", "Expand", "Squeeze", "Reshape", "Clone"):
            return None, transposed
        node = node.next_functions[0][0]
    return None, transposed


def _inside(module: nn.Module | None, weight: Tensor, part: Part, call: Any) -> float:
    """Share of a convolution's taps that fall on the input and not on its zero padding."""
    if weight.dim() < 3 or not isinstance(module, privates.Conv) or call is None:
        return 1.0
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        return 1.0
    shapes, out, _ = call
    if not shapes:
        return 1.0
    share = 1.0
    for axis, size in enumerate(weight.shape[2:]):
        length, outputs = shapes[0][2 + axis], out[2 + axis]
        stride, pad, step = module.stride[axis], module.padding[axis], module.dilation[axis]
        hits = sum(0 <= o * stride - pad + t * step < length for o in range(outputs) for t in range(size))
        share *= hits / max(1, outputs * size)
    return share


def activation_of(node: Node, base: str) -> tuple[str, Phi] | None:
    """The elementwise function behind a node, with the constants it was called with."""

    def saved(name: str, default: float) -> float:
        value = privates.saved(node, name, default)
        return float(value) if isinstance(value, (int, float)) else default

    if base in _PLAIN:
        return base.lower(), _PLAIN[base]
    if base == "Gelu":
        approximate = privates.saved(node, "approximate", "none")
        return ("gelu" if approximate == "none" else "gelu_tanh"), lambda u: F.gelu(u, approximate=approximate)
    if base == "LeakyRelu":
        slope = saved("negative_slope", 0.01)
        return f"leaky_relu {slope:g}", lambda u: F.leaky_relu(u, slope)
    if base == "Elu":
        alpha, scale = saved("alpha", 1.0), saved("scale", 1.0)
        return ("selu" if scale != 1.0 else "elu"), lambda u: scale * F.elu(u, alpha)
    if base == "Celu":
        alpha = saved("alpha", 1.0)
        return f"celu {alpha:g}", lambda u: F.celu(u, alpha)
    if base == "Hardtanh":
        low, high = saved("min_val", -1.0), saved("max_val", 1.0)
        return f"hardtanh {low:g} {high:g}", lambda u: F.hardtanh(u, low, high)
    if base == "Softplus":
        beta, threshold = saved("beta", 1.0), saved("threshold", 20.0)
        return "softplus", lambda u: F.softplus(u, beta, threshold)
    return None


_PLAIN: dict[str, Phi] = {
    "Relu": torch.relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Silu": F.silu,
    "Mish": F.mish,
    "Erf": torch.erf,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Hardswish": F.hardswish,
    "Hardsigmoid": F.hardsigmoid,
    "LogSigmoid": F.logsigmoid,
}
