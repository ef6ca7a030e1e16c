"""Units: what the forward pass says of each layer - its output, and the slope of what reads it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from fadeout.call import privates
from fadeout.call.batch import tensors
from fadeout.call.question import Question
from fadeout.probe.account.norms import norm, stride
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import How, Instrument, Observed
from fadeout.probe.instruments.outputs import Output, Seen, output_of
from fadeout.probe.later import Answer, Later

SAMPLE = 1024  # gradient values kept a layer, for the share that would underflow
WIDE = 1 << 14  # elements from which shares are read on a regular sample: off by half a percent
SATURATED = 0.08  # of the supremum slope; STYLE.md's definition
LIVE = 0.01  # of the supremum: what still passes a slope
RETURNED = 1 << 20  # elements of an output that is kept to be judged
ROWS = 16  # fewer rows than this say nothing about a dead unit, unless the batch has no more
_APPLIES = frozenset(
    """linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d embedding embedding_bag
    addmm mm matmul bmm baddbmm einsum mv addmv lstm gru rnn_tanh rnn_relu __matmul__ __rmatmul__""".split()
)
_HANDS_ON = frozenset(
    """Select Slice Unbind Split SplitWithSizes Rsub Sub Neg Add Unsqueeze Squeeze View Reshape ReshapeAlias Expand
    Transpose T Permute Repeat Clone UnsafeView UnsafeSplit""".split()
)
HANDED_ON = 4  # operations between a gate and its product
_ADDS = frozenset({"add", "__add__", "__radd__"})  # not in place: the stream would be overwritten already
STAND_INS = frozenset({"dyt", "dynamictanh", "dynamicerf", "derf"})  # elementwise maps in place of norms
_UNPACK = frozenset({"to", "detach", "copy_", "empty_like", "empty", "pin_memory", "cuda", "cpu"})


@dataclass(slots=True)
class Slope:
    """Slope of one activation over everything it saw: shares, 0 to 1; nan where unknown."""

    name: str
    gated: bool
    path: str
    units: int
    owner: str
    rows: int
    asked: tuple[str, ...]  # which of the following were measured
    mean: float = math.nan
    dead: float = math.nan
    saturated: float = math.nan
    live: float = math.nan


class Units(Instrument):
    """Watches one pass: outputs of weights, slopes of activations, samples of gradients."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self.checkpointed = False
        self.samples: dict[int, tuple[Tensor, Tensor]] = {}  # largest |g|, and some of the values
        self._results: dict[Node, Output] = {}
        self._by_module: dict[str, Output] = {}
        self._sums: dict[Node, tuple[Tensor, Tensor, Tensor]] = {}
        self._outputs: list[tuple[int | str, Output, Answer]] = []
        self._slopes: list[tuple[int, Slope, Answer]] = []
        self._cosines: tuple[list[int], Answer] | None = None
        self.returned: Tensor | None = None  # what the watched module returned, unless it is large
        self._output: tuple[Answer, int] | None = None
        self._later = Later()
        self._batch = 0
        self._root: nn.Module | None = None

    # ---- what was seen; the first look brings the numbers from the device

    @cached_property
    def seen(self) -> dict[int | str, Seen]:
        """Outputs by operation, or by module where the weights acted unseen."""
        return {key: output.seen(answer.values) for key, output, answer in self._outputs}

    @cached_property
    def slopes(self) -> dict[int, Slope]:
        """Slopes by the operation of the activation."""
        found = {}
        for i, slope, answer in self._slopes:
            known = dict(zip(slope.asked, answer.values, strict=True))
            found[i] = replace(
                slope,
                mean=known["mean"],
                dead=known.get("dead", math.nan),
                saturated=known.get("saturated", math.nan),
                live=known.get("live", math.nan),
            )
        return found

    @cached_property
    def influences(self) -> dict[int, tuple[float, float]]:
        """Per addition: mean cosine of its left and of its right input with the sum."""
        if self._cosines is None:
            return {}
        nodes, answer = self._cosines
        left, right = answer.values[: len(nodes)], answer.values[len(nodes) :]
        return {i: (a, b) for i, a, b in zip(nodes, left, right, strict=True)}

    @property
    def output(self) -> float:
        """rms of what the watched module returned; nan where it was not seen."""
        if self._output is None or not self._output[1]:
            return math.nan
        answer, size = self._output
        return answer.values[0] / math.sqrt(size)

    def influence(self, i: int, stream: int) -> float:
        """1 - mean cosine between the stream and its sum with the branch; nan if not seen."""
        pair = self.influences.get(i)
        return math.nan if pair is None else 1.0 - pair[stream]

    def fields(self, seen: Observed) -> dict[str, Any]:
        if self.checkpointed:
            self.notes.append("checkpointed activations: slopes not measured, they would run the forward again")
        return {"live": tuple((s.path, s.live) for s in self.slopes.values() if s.owner.lower() in STAND_INS)}

    # ---- while the forward runs

    def forward(self, names: Names) -> None:
        names.listen(self, calls=_APPLIES | _ADDS, leaves=True)
        self._batch = names.samples
        self._root = names.watched
        self._later = names.later
        self.samples, self._outputs, self._slopes = {}, [], []  # of a pass that was refused and is taken again
        for kept in (self._results, self._by_module, self._sums):
            kept.clear()

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """One function returned: keep numbers of its result, never the result."""
        if node is None or out.layout != torch.strided or out.is_nested:
            return
        if function in _APPLIES:
            self._results[node] = output_of(out, samples=self._batch)
        elif len(args) >= 2 and out.dim() >= 2:
            left, right = args[0], args[1]
            if isinstance(left, Tensor) and isinstance(right, Tensor) and left.shape == right.shape == out.shape:
                self._sums[node] = _products(left, out)

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """One module returned: its first output stands for layers whose weights act unseen."""
        if module is self._root:
            first = next((t for t in tensors(out) if t.is_floating_point() and t.layout == torch.strided), None)
            if first is not None and not first.is_nested:
                self._output = self._later.ask([norm(first.detach())]), first.numel()
                self.returned = first.detach() if first.numel() <= RETURNED else None
        if path in self._by_module or isinstance(module, (nn.Linear, privates.Conv, nn.Embedding)):
            return
        if any(p is not None and p.dim() >= 2 for p in privates.parameters(module).values()):
            first = next((t for t in tensors(out) if t.is_floating_point()), None)
            if first is not None:
                self._by_module[path] = output_of(first, samples=self._batch)

    # ---- between forward and backward

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        index = {node: i for i, node in enumerate(graph.nodes)}
        for node, output in self._results.items():
            i = _matrix_behind(node, index, graph)
            if i is not None:
                self._outputs.append((i, output, self._later.ask(output.scalars)))
        for path, output in self._by_module.items():
            self._outputs.append((path, output, self._later.ask(output.scalars)))
        self._ask_cosines({i: parts for node, parts in self._sums.items() if (i := index.get(node)) is not None})
        self._ask_slopes(graph)
        self._root = None
        self._results.clear()
        self._by_module.clear()
        self._sums.clear()
        return {i: self._sample for i in range(len(graph.nodes)) if graph.matrix[i]}

    def _sample(self, i: int, gradients: Any) -> None:
        for gradient in gradients:
            if gradient is not None and gradient.layout == torch.strided and not gradient.is_nested:
                if gradient.is_complex():
                    gradient = torch.view_as_real(gradient.resolve_conj())
                flat = gradient.detach().reshape(-1)
                if not flat.numel():
                    continue
                every = stride(flat.numel(), SAMPLE)
                low, high = torch.aminmax(flat)
                self.samples[i] = (torch.maximum(-low, high), (flat[::every] if every > 1 else flat).abs())

    def _ask_cosines(self, sums: dict[int, tuple[Tensor, Tensor, Tensor]]) -> None:
        """Mean cosines of all additions at once, from the inner products of their rows."""
        if not sums:
            return
        counts = torch.tensor([ll.numel() for ll, _, _ in sums.values()], device="cpu")
        ll, lo, oo = (torch.cat([part[n] for part in sums.values()]).double() for n in range(3))
        rr, ro = oo - 2 * lo + ll, oo - lo
        device = ll.device
        places = torch.repeat_interleave(torch.arange(len(sums), device="cpu"), counts).to(device, non_blocking=True)
        found = []
        for own, product in ((ll, lo), (rr, ro)):
            cosine = product / (own * oo).sqrt().clamp_min(1e-300)
            found.append(torch.zeros(len(sums), dtype=torch.float64, device=device).index_add_(0, places, cosine))
        means = torch.stack(found) / counts.to(device, non_blocking=True)
        self._cosines = list(sums), self._later.ask([means])

    def _ask_slopes(self, graph: Graph) -> None:
        consumers: dict[int, list[int]] = {}
        for i, edges in enumerate(graph.edges):
            for _, j, _ in edges:
                consumers.setdefault(j, []).append(i)
        rows: list[int] = []
        found: list[tuple[int, Slope, list[Tensor]]] = []
        for i, node in enumerate(graph.nodes):
            if i in graph.leaves or graph.loss_side[i] or not kinds.is_elementwise_slope(graph.names[i]):
                continue
            slope = self._slope(node)
            if self.checkpointed:
                break
            if slope is None:
                continue
            known = kinds.row(graph.names[i])
            magnitude = slope.abs()
            axis = unit_axis(node, magnitude.dim())
            supremum = known.supremum
            width, count = _units(magnitude, axis)
            units = _by_unit(magnitude, axis) if supremum is None or known.dies else None
            flat = magnitude.reshape(-1)
            part = flat[:: stride(flat.numel(), WIDE)].float()
            top: Tensor | float = supremum if supremum is not None else units.max().float()  # type: ignore[union-attr]
            asked = {"mean": part.mean() / top}
            if known.dies and units is not None and _rectifies(node):
                asked["dead"] = (units == 0).float().mean()
                rows.append(count)
            if known.bounded:
                asked["saturated"] = (part < SATURATED * top).float().mean()
            if graph.owner[i].lower() in STAND_INS:
                asked["live"] = (part > LIVE * top).float().mean()
            gated = _multiplies(graph, consumers, i)
            blank = Slope(
                name=graph.op[i], gated=gated, path=graph.path[i], units=width, owner=graph.owner[i],
                rows=count, asked=tuple(asked),
            )  # fmt: skip
            found.append((i, blank, list(asked.values())))
        enough = min(ROWS, max(rows, default=0))
        for i, blank, scalars in found:
            if "dead" in blank.asked and blank.rows < enough:  # so few rows say nothing of a dead unit
                kept = [n for n, name in enumerate(blank.asked) if name != "dead"]
                blank = replace(blank, asked=tuple(blank.asked[n] for n in kept))
                scalars = [scalars[n] for n in kept]
            self._slopes.append((i, blank, self._later.ask(scalars)))

    def _slope(self, node: Node) -> Tensor | None:
        """phi' at every element, by calling the activation's own node with ones."""
        watcher = _Recomputing()
        try:
            shape, dtype, device = privates.arriving(node)
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
def _products(left: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """<l, l>, <l, o> and <o, o> of each row of an addition l + r = o, of the first rows of a large one."""
    dim = 1 if out.dim() == 4 else -1
    count = max(1, WIDE * out.shape[0] // max(1, out.numel()))
    a, o = left[:count].detach(), out[:count].detach()
    if a.dtype not in (torch.float32, torch.float64):
        a, o = a.float(), o.float()
    dot = torch.linalg.vecdot
    return dot(a, a, dim=dim).reshape(-1), dot(a, o, dim=dim).reshape(-1), dot(o, o, dim=dim).reshape(-1)


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


def _rectifies(node: Node) -> bool:
    """False for a clamp at another bound than 0, which keeps numbers in range and makes no units."""
    bound = getattr(node, "_saved_min", 0)
    return bound is None or isinstance(bound, Tensor) or float(bound) == 0


def _multiplies(graph: Graph, consumers: dict[int, list[int]], i: int) -> bool:
    """Whether a result is a gate: multiplied by something, itself or one minus it, as a whole or step by step."""
    waiting, seen = [(c, 0) for c in consumers.get(i, ())], set[int]()
    while waiting:
        node, depth = waiting.pop()
        name = kinds.base_name(graph.names[node])
        if name == "Mul" and len(graph.edges[node]) > 1:
            return True
        if depth < HANDED_ON and name in _HANDS_ON and len(graph.edges[node]) == 1 and node not in seen:
            seen.add(node)
            waiting += [(c, depth + 1) for c in consumers.get(node, ())]
    return False


def _units(magnitude: Tensor, unit: int) -> tuple[int, int]:
    """How many units there are, and how many rows."""
    if magnitude.dim() < 2:
        return magnitude.numel(), 1
    width = magnitude.shape[unit]
    return width, magnitude.numel() // width


def _by_unit(magnitude: Tensor, unit: int) -> Tensor:
    """Largest |slope| of each unit over all rows."""
    if magnitude.dim() < 2:
        return magnitude
    return magnitude.amax(dim=[d for d in range(magnitude.dim()) if d != unit])


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
