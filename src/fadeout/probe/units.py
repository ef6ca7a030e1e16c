"""Units: what the forward pass says of each layer - its output, and the slope of what reads it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from fadeout.call.batch import tensors
from fadeout.probe import kinds
from fadeout.probe.graph import Graph
from fadeout.probe.names import Names
from fadeout.probe.norms import norm, read
from fadeout.probe.passes import Observer
from fadeout.probe.tape import Watcher

SAMPLE = 1024  # gradient values kept a layer, for the share that would underflow
WIDE = 1 << 14  # elements from which shares are read on a regular sample: off by half a percent
SATURATED = 0.08  # of the supremum slope; STYLE.md's definition
LIVE = 0.01  # of the supremum: what still passes a slope
ROWS = 16  # fewer rows than this say nothing about a dead unit, unless the batch has no more
_APPLIES = frozenset(
    """linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d embedding embedding_bag
    addmm mm matmul bmm baddbmm einsum mv addmv lstm gru rnn_tanh rnn_relu __matmul__ __rmatmul__""".split()
)
_ADDS = frozenset({"add", "__add__", "__radd__"})  # not in place: the stream would be overwritten already
_RECTIFIERS = frozenset({"Relu", "Relu6", "Threshold", "Hardtanh", "Clamp", "ClampMin", "Hardswish", "Hardsigmoid"})
_BOUNDED = frozenset({"Sigmoid", "Tanh", "Hardtanh", "Hardsigmoid", "Erf", "Clamp", "LogSigmoid"})
_UNPACK = frozenset({"to", "detach", "copy_", "empty_like", "empty", "pin_memory", "cuda", "cpu"})


@dataclass(slots=True)
class Slope:
    """Slope of one activation over everything it saw: shares, 0 to 1; nan where unknown."""

    name: str
    mean: float
    dead: float
    saturated: float
    gated: bool
    path: str
    units: int
    live: float
    owner: str


@dataclass(slots=True)
class Seen:
    """Output z of one weight operation: rms, and share of energy that differs between samples."""

    rms: float
    between: float


class Units(Observer):
    """Watches one pass: outputs of weights, slopes of activations, samples of gradients."""

    def __init__(self) -> None:
        self.rms: dict[Node, tuple[Tensor, Tensor, int]] = {}
        self.by_module: dict[str, tuple[Tensor, Tensor, int]] = {}
        self.shapes: dict[Node, tuple[torch.Size, torch.dtype, torch.device]] = {}
        self.cosines: dict[Node, tuple[Tensor, Tensor]] = {}
        self.seen: dict[int, Seen] = {}
        self.seen_by_path: dict[str, Seen] = {}
        self.slopes: dict[int, Slope] = {}
        self.samples: dict[int, tuple[Tensor, Tensor]] = {}
        self.influences: dict[int, tuple[Tensor, Tensor]] = {}
        self.checkpointed = False
        self.batch = 0
        self.output: tuple[Tensor, int] | None = None
        self._root: nn.Module | None = None

    # ---- while the forward runs

    def forward(self, names: Names) -> None:
        names.listeners.append(self)
        self.batch = names.samples
        self._root = names.watched

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """One function returned: keep numbers of its result, never the result."""
        if node is None or out.layout != torch.strided or out.is_nested:
            return
        if function in _APPLIES:
            self.rms[node] = output_of(out, samples=self.batch)
        elif function in _ADDS and len(args) >= 2 and out.dim() >= 2:
            left, right = args[0], args[1]
            if isinstance(left, Tensor) and isinstance(right, Tensor) and left.shape == right.shape == out.shape:
                self.cosines[node] = (_cosine(left, out), _cosine(right, out))
        elif kinds.is_elementwise_slope(node.name()):
            self.shapes[node] = (out.shape, out.dtype, out.device)

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """One module returned: its first output stands for layers whose weights act unseen."""
        if module is self._root:
            first = next((t for t in tensors(out) if t.is_floating_point() and t.layout == torch.strided), None)
            if first is not None and not first.is_nested:
                self.output = (norm(first.detach()), first.numel())
        if path in self.by_module or isinstance(module, (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding)):
            return
        if any(p is not None and p.dim() >= 2 for p in module._parameters.values()):
            first = next((t for t in tensors(out) if t.is_floating_point()), None)
            if first is not None:
                self.by_module[path] = output_of(first, samples=self.batch)

    # ---- between forward and backward

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        index = {node: i for i, node in enumerate(graph.nodes)}
        self._read_outputs(graph, index)
        for node, pair in self.cosines.items():
            if (i := index.get(node)) is not None:
                self.influences[i] = pair
        self._read_slopes(graph)
        self._root = None
        self.rms.clear()
        self.shapes.clear()
        self.cosines.clear()
        return {i: self._sample for i in range(len(graph.nodes)) if graph.matrix[i]}

    def _sample(self, i: int, gradients: Any) -> None:
        for gradient in gradients:
            if gradient is not None and gradient.layout == torch.strided and not gradient.is_nested:
                if gradient.is_complex():
                    gradient = torch.view_as_real(gradient.resolve_conj())
                flat = gradient.detach().reshape(-1)
                if not flat.numel():
                    continue
                every = -(-flat.numel() // SAMPLE)
                low, high = torch.aminmax(flat)
                self.samples[i] = (torch.maximum(-low, high), flat[::every].abs())

    def _read_outputs(self, graph: Graph, index: dict[Node, int]) -> None:
        keys: list[int | str] = []
        scalars: list[Tensor] = []
        sizes: list[int] = []
        for node, (energy, between, size) in self.rms.items():
            i = _matrix_behind(node, index, graph)
            if i is not None:
                keys.append(i)
                scalars += [energy, between]
                sizes.append(size)
        for path, (energy, between, size) in self.by_module.items():
            keys.append(path)
            scalars += [energy, between]
            sizes.append(size)
        values = read(scalars)
        for n, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            seen = Seen(rms=values[2 * n] / size**0.5 if size else float("nan"), between=values[2 * n + 1])
            if isinstance(key, int):
                self.seen[key] = seen
            else:
                self.seen_by_path[key] = seen

    def _read_slopes(self, graph: Graph) -> None:
        consumers: dict[int, list[int]] = {}
        for i, edges in enumerate(graph.edges):
            for _, j, _ in edges:
                consumers.setdefault(j, []).append(i)
        found: list[int] = []
        scalars: list[Tensor] = []
        rows: list[int] = []
        widths: list[int] = []
        for i, node in enumerate(graph.nodes):
            if i in graph.leaves or graph.loss_side[i] or not kinds.is_elementwise_slope(graph.names[i]):
                continue
            slope = self._slope(node)
            if self.checkpointed:
                break
            if slope is None:
                continue
            magnitude = slope.abs()
            supremum = kinds.slope_supremum(graph.names[i])
            units, count = _units(magnitude, unit_axis(node, magnitude.dim()))
            flat = magnitude.reshape(-1)
            part = flat[:: -(-flat.numel() // WIDE)].float()
            top = units.max().float() if supremum is None else torch.full((), supremum, device=flat.device)
            found.append(i)
            rows.append(count)
            widths.append(units.numel())
            scalars += [
                part.mean() / top,
                (units == 0).float().mean(),
                (part < SATURATED * top).float().mean(),
                (part > LIVE * top).float().mean(),
            ]
        values = read(scalars)
        for n, i in enumerate(found):
            mean, dead, saturated, live = values[4 * n : 4 * n + 4]
            base = kinds.base_name(graph.names[i])
            self.slopes[i] = Slope(
                name=graph.op[i],
                mean=mean,
                dead=dead if base in _RECTIFIERS and rows[n] >= min(ROWS, max(rows)) else float("nan"),
                saturated=saturated if base in _BOUNDED else float("nan"),
                gated=any(
                    kinds.base_name(graph.names[c]) == "Mul" and len(graph.edges[c]) > 1 for c in consumers.get(i, ())
                ),
                path=graph.path[i],
                units=widths[n],
                live=live,
                owner=graph.owner[i],
            )

    def _slope(self, node: Node) -> Tensor | None:
        """phi' at every element, by calling the activation's own node with ones."""
        watcher = _Recomputing()
        try:
            known = self.shapes.get(node)
            if known is None:  # inside a composite function: the node knows the shape itself
                metadata = node._input_metadata
                known = (metadata[0].shape, metadata[0].dtype, metadata[0].device)
            shape, dtype, device = known
            if not dtype.is_floating_point:
                return None
            ones = torch.ones((), dtype=dtype, device=device).expand(shape)
            with torch.no_grad(), watcher:
                result = node(ones)  # type: ignore[operator]
        except (
            AttributeError,
            RuntimeError,
            TypeError,
            ValueError,
            IndexError,
        ):  # saved tensors changed or unusual layouts
            return None
        self.checkpointed = watcher.calls > 0
        first = result[0] if isinstance(result, (tuple, list)) else result
        return first if isinstance(first, Tensor) and first.shape == shape and first.numel() else None

    def influence(self, i: int, stream: int) -> float:
        """1 - mean cosine between the stream and its sum with the branch; nan if not seen."""
        pair = self.influences.get(i)
        return float("nan") if pair is None else 1.0 - float(pair[stream])


class _Recomputing(TorchFunctionMode):
    """Counts calls made while saved tensors are unpacked: a checkpoint that runs again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") not in _UNPACK:
            self.calls += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def output_of(out: Tensor, *, samples: int = 0) -> tuple[Tensor, Tensor, int]:
    """(norm of z, share of its energy between samples, elements).

    Samples run along dimension 0, or along 1 where only that one has their number (T, N, D).
    """
    z = out.detach()
    if z.layout != torch.strided or z.is_nested:
        nothing = torch.zeros((), dtype=torch.float64)
        return nothing, torch.full_like(nothing, float("nan")), 0
    if z.is_complex():
        z = torch.view_as_real(z.resolve_conj())
    size = z.numel()
    length = norm(z)
    if samples and z.dim() >= 3 and z.shape[0] != samples == z.shape[1]:
        z = z.transpose(0, 1)
    if z.dim() < 2 or z.shape[0] < 2 or not size:
        return length, torch.full((), float("nan"), device=z.device), size
    rows = z.reshape(z.shape[0], -1)
    every = -(-size // (4 * WIDE))
    if every > 1:
        rows = rows[:, ::every]
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    mean = rows.mean(0)
    between = norm(rows - mean).double().square()  # two passes: no cancellation where samples are alike
    within = mean.square().sum(dtype=torch.float64) * rows.shape[0]
    return length, between / (between + within), size


@torch.no_grad()
def _cosine(stream: Tensor, out: Tensor) -> Tensor:
    dim = 1 if out.dim() == 4 else -1
    if not out.numel():
        return torch.full((), float("nan"), device=out.device)
    rows = max(1, WIDE * out.shape[0] // out.numel())
    return torch.cosine_similarity(stream[:rows].detach().float(), out[:rows].detach().float(), dim=dim).mean()


def unit_axis(node: Node | None, dims: int) -> int:
    """The axis of an activation's units: channels of images, and behind a convolution; else the last."""
    if dims == 3:
        for _ in range(5):  # through a norm, a bias, a view
            node = next((n for n, _ in node.next_functions if n is not None), None) if node is not None else None
            if node is None:
                break
            if kinds.base_name(node.name()) == "Convolution":
                return 1
            if kinds.is_matrix(node.name()):
                break
    return 1 if dims >= 4 else dims - 1


def _units(magnitude: Tensor, unit: int) -> tuple[Tensor, int]:
    """Largest |slope| of each unit over all rows, and how many rows there are."""
    if magnitude.dim() < 2:
        return magnitude, 1
    rest = [d for d in range(magnitude.dim()) if d != unit]
    return magnitude.amax(dim=rest), magnitude.numel() // magnitude.shape[unit]


def _matrix_behind(node: Node, index: dict[Node, int], graph: Graph) -> int | None:
    """The weight operation whose result a function returned, through views and a bias."""
    for _ in range(6):
        i = index.get(node)
        if i is not None and graph.matrix[i]:
            return i
        below = [n for n, _ in node.next_functions if n is not None and not n.name().endswith("AccumulateGrad")]
        if not below:
            return None
        node = below[0]
    return None
