"""Loss terms: where a loss is a sum, what each of its terms sends back, and whom it reaches."""

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from fadeout.call import privates
from fadeout.call.question import Question
from fadeout.probe.account.norms import norm, read
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.names import Names
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.graph.walk import leaves_of
from fadeout.probe.instruments.instrument import How, Instrument, Observed
from fadeout.records import LossTerm
from fadeout.records.exam import DETACHED

MOST = 6  # terms that are told apart
LARGE = 20_000  # nodes of a graph through which no term is sent by itself
_ADDS = frozenset("Add Sub Stack".split())
_ADDERS = frozenset("add __add__ __radd__ __iadd__ add_ sub __sub__ __rsub__ __isub__ sub_ stack".split())
_SHIFTS = frozenset("Max Amax Logsumexp".split())
_SCALES = frozenset("Mul Div Neg ToCopy Mean Sum Squeeze View".split())


_Lost = tuple[str, Node | None]  # its line, and the graph that it was taken from


class LossTerms(Instrument):
    """Walks from the loss through its additions; sends each term back alone, to the matrices."""

    hows = frozenset({"whole", "start"})

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._names: Names | None = None
        self._blind: dict[Node, list[_Lost]] = {}  # by a sum's node, what was added without a graph
        self._found: list[tuple[str, str, set[int], dict[int, float]]] = []  # operation, line, reached, lengths by id
        self._optimizer = question.optimizer
        self._trains = question.trains
        self._spared = False
        self._done = False

    def forward(self, names: Names) -> None:
        self._names, self._blind = names, {}
        names.listen(self, calls=_ADDERS)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """A number without a graph, though made by the network, is added to one that has a graph."""
        if node is None or self._names is None or (out.numel() != 1 and function != "stack"):
            return
        parts = args[0] if args and isinstance(args[0], (list, tuple)) else args[:2]
        lost = [t for t in parts if isinstance(t, Tensor) and not t.requires_grad and self._names.cuts.blind(t)]
        if lost and node not in self._blind:
            line = line_of(*self._names.of[node][3:])
            self._blind[node] = [(line, self._names.cuts.source(t)) for t in lost]

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Of no interest."""

    def leave_saved(self) -> None:
        self._spared = True

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        if self._done or not graph.nodes:
            return {}
        self._done = True  # later passes of this reading say the same
        terms, sums = _terms(graph.nodes[0])
        reached = set(graph.nodes)
        blind = [line for node in sums for line, source in self._blind.get(node, ()) if _is_lost(source, reached)]
        if 2 <= len(terms) + len(blind) <= MOST:
            alone = not self._spared and not graph.opaque and graph.total <= LARGE
            places = {node: i for i, node in enumerate(graph.nodes)}
            self._found = [self._look(term, graph, places.get(term), alone) for term in terms]
            self._found += [(DETACHED, line, set(), {}) for line in blind]
        return {}

    def _look(
        self, term: Node, graph: Graph, at: int | None, alone: bool
    ) -> tuple[str, str, set[int], dict[int, float]]:
        variables = leaves_of(term)
        lengths: dict[int, float] = {}
        if alone:
            with suppress(RuntimeError):  # a checkpoint, or a function that runs backward only once
                lengths = _alone(term, [v for v in variables if v.dim() >= 2])
        op = graph.op[at] if at is not None else kinds.base_name(term.name()).lower()
        line = line_of(*graph.line[at]) if at is not None else ""
        return op, line, {id(v) for v in variables}, lengths

    def fields(self, seen: Observed) -> dict[str, Any]:
        if not self._found:
            return {"terms": ()}
        names = {id(p): name for name, p in seen.first.parameters}
        moved = self._moved(names)
        first = _first_matrices(seen)
        return {"terms": tuple(self._term(one, names, moved, first) for one in self._found)}

    def _moved(self, names: dict[int, str]) -> set[int]:
        """Parameters that the step after this backward pass changes; all where nobody has said."""
        if self._trains is not None:
            return {key for key, name in names.items() if name in self._trains}
        if self._optimizer is not None:
            return {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        return set(names)

    def _term(
        self, one: tuple[str, str, set[int], dict[int, float]], names: dict[int, str], moved: set[int], first: set[int]
    ) -> LossTerm:
        op, line, reached, lengths = one
        known = bool(lengths)
        return LossTerm(
            op=op,
            line=line,
            norm=math.hypot(*(v for key, v in lengths.items() if key in moved)) if known else math.nan,
            first=math.hypot(*(lengths.get(key, 0.0) for key in first)) if known else math.nan,
            reaches=len({readable_path(names[k].rpartition(".")[0]) for k in reached & moved if k in names}),
            idle=bool(moved) and not reached & moved,
        )


def _terms(root: Node) -> tuple[list[Node], list[Node]]:
    """The nodes behind a loss's additions, in the order in which they are written; and those of the additions."""
    found: list[Node] = []
    sums: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop(0)
        below = [n for n, _ in node.next_functions if n is not None]
        name = kinds.base_name(node.name())
        if _adds(node):
            sums.append(node)
            waiting = [*below, *waiting]
        elif name in _SCALES and len(below) == 1 and _splits(below[0]):
            waiting = [below[0], *waiting]
        elif node not in found:
            found.append(node)
    return found, sums


def _is_lost(source: Node | None, reached: set[Node]) -> bool:
    """Whether what was detached sends nothing back in another way either.

    The largest of the numbers in a sum of exponentials is taken out of it and added again, without a gradient.
    """
    return source not in reached and (source is None or kinds.base_name(source.name()) not in _SHIFTS)


def _splits(node: Node) -> bool:
    """Whether a sum lies below a factor: `scale * (a + b)`."""
    below = [n for n, _ in node.next_functions if n is not None]
    name = kinds.base_name(node.name())
    if name in _SCALES:
        return _is_scalar(node) and len(below) == 1 and _splits(below[0])
    return _adds(node)


def _adds(node: Node) -> bool:
    """Whether a node adds numbers up, one of which has a graph."""
    below = [n for n, _ in node.next_functions if n is not None]
    sums = kinds.base_name(node.name()) in _ADDS
    return sums and bool(below) and all(_is_scalar(n) for n in below)


def _is_scalar(node: Node) -> bool:
    try:
        return privates.arriving(node)[0].numel() == 1
    except (AttributeError, RuntimeError, IndexError):  # a leaf, or a function of somebody's own
        return False


def _alone(term: Node, matrices: list[Tensor]) -> dict[int, float]:
    """Length of the gradient that one term alone sends to each matrix."""
    if not matrices:
        return {}
    shape, dtype, device = privates.arriving(term)
    seed = torch.ones(shape, dtype=dtype, device=device)
    given = torch.autograd.grad([GradientEdge(term, 0)], matrices, [seed], retain_graph=True, allow_unused=True)
    sent = [(m, g) for m, g in zip(matrices, given, strict=True) if g is not None and g.layout == torch.strided]
    return dict.fromkeys(map(id, matrices), 0.0) | dict(
        zip((id(m) for m, _ in sent), read([norm(g.detach()).double() for _, g in sent]), strict=True)
    )


def _first_matrices(seen: Observed) -> set[int]:
    """Ids of the weights of the layer that runs first."""
    graph = seen.first.graph
    matrices: Iterable[int] = (i for i, is_matrix in enumerate(graph.matrix) if is_matrix)
    start = max(matrices, default=None, key=lambda i: i)
    return set() if start is None else set(graph.multiplies.get(start, ()))
