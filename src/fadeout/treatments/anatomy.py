"""Anatomy: which layers there are, which activation reads each, and what role each of them plays."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, Literal

from torch import Tensor, nn

from fadeout.call.question import Question
from fadeout.probe.account.passes import Observer
from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph, weight_sources
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.names import Names
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.session import Session

Role = Literal["hidden", "gate", "output"]
Site = tuple[CodeType | None, int]
OFTEN = 3  # times that a place detaches something in one forward, from which it is a loop
_NAMES = {"prelu_kernel": "prelu", "rrelu_with_noise": "rrelu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One activation of the forward.

    Attributes:
        name: As torch's function is called: "sigmoid".
        path: The module that ran it; its own where it is a module.
        module: It is a module by itself, and can be replaced as one.
        site: Where it was called, for one that is a function.
        line: The same, "net.py:12".
        role: "hidden": a later weight layer reads it; "gate": it is multiplied with something computed; "output".
        weight: Path of the weight layer that it reads; "" for none.
        plain: Nothing but this layer's weights stands between the two: no norm.
    """

    name: str
    path: str
    module: bool
    site: Site
    line: str
    role: Role
    weight: str
    plain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """What one forward shows of a network.

    Attributes:
        weights: Paths of the layers with weights on the way, data side first.
        heads: Those of them that no later weight layer reads.
        activations: In forward order.
        shapes: By path of a layer: shapes of its first input and of its output in this forward.
        attentions: Paths of modules that run an attention.
        normed: Weight layers whose output a norm reads before any activation.
        before: By weight layer the one whose activation it reads; "" where it reads data or a sum.
        additions: Paths of the modules that add two computed tensors: residual blocks.
        loss_ops: Operations between the output and the scalar.
        sequence: Steps that each recurrent layer read.
        detached: Places where the forward detaches something again and again, with their lines.
    """

    weights: tuple[str, ...]
    heads: frozenset[str]
    activations: tuple[Activation, ...]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    attentions: tuple[str, ...]
    normed: frozenset[str]
    before: dict[str, str]
    additions: tuple[str, ...]
    loss_ops: tuple[str, ...]
    sequence: dict[str, int]
    detached: dict[Site, str]

    def reader(self, weight: str) -> Activation | None:
        """The activation that reads a layer."""
        return next((a for a in self.activations if a.weight == weight), None)

    @property
    def hidden(self) -> tuple[Activation, ...]:
        """Activations between two weight layers."""
        return tuple(a for a in self.activations if a.role == "hidden")


class _Shapes(Observer):
    """Shapes of what goes into and comes out of every module, and the graph of the forward."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.sequence: dict[str, int] = {}
        self.detaches: dict[Site, int] = {}
        self._names: Names | None = None

    def forward(self, names: Names) -> None:
        self.shapes, self.detaches, self._names = {}, {}, names
        names.listen(self, calls=frozenset({"detach"}), leaves=True)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Any, path: str) -> None:
        """Of a detach inside the model, where it was called."""
        names = self._names
        if function == "detach" and names is not None and names.stack and args and args[0].requires_grad:
            site = names.let_go
            self.detaches[site] = self.detaches.get(site, 0) + 1

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """One module returned."""
        first = next((a for a in args if isinstance(a, Tensor)), None)
        if isinstance(module, nn.RNNBase) and first is not None and first.dim() > 1:
            self.sequence[path] = first.shape[1 if module.batch_first and first.dim() == 3 else 0]
        result = out if isinstance(out, Tensor) else None
        if first is not None and result is not None and path not in self.shapes:
            self.shapes[path] = tuple(first.shape), tuple(result.shape)


def anatomy(question: Question) -> Anatomy:
    """One instrumented forward and backward, and what it shows of the network's parts.

    Raises:
        FadeoutError, ModelError: As `measure`.
    """
    seen = _Shapes()
    with Session(question) as session:
        done = session.take(seen)
        modules = dict(done.names.modules)
    graph = done.graph
    readers: dict[int, list[int]] = {i: [] for i in range(len(graph.names))}
    for i, edges in enumerate(graph.edges):
        for _, j, _ in edges:
            readers[j].append(i)
    later = [False] * len(graph.names)  # a weight operation stands between it and the loss
    for i in range(len(graph.names)):
        later[i] = any(graph.matrix[c] or later[c] for c in readers[i])
    by_readable = {readable_path(path): module for path, module in modules.items()}
    source = _sources(graph)
    activations = []
    normed = set()
    for i in sorted(range(len(graph.names)), reverse=True):  # data side first
        if graph.kind[i] == "norm" and source[i] >= 0 and not graph.loss_side[i]:
            normed.add(graph.path[source[i]])
        if i in graph.leaves or graph.loss_side[i] or not kinds.is_elementwise_slope(graph.names[i]):
            continue
        owner = by_readable.get(graph.path[i])
        alone = owner is not None and not any(True for _ in owner.children()) and not _has_matrix(owner)
        activations.append(
            Activation(
                name=_NAMES.get(name := kinds.readable(graph.names[i]), name),
                path=graph.path[i],
                module=alone and type(owner).__module__.startswith("torch.nn"),
                site=graph.line[i],
                line=line_of(*graph.line[i]) if graph.line[i][0] is not None else "",
                role=_role(graph, readers, later, i),
                weight=graph.path[source[i]] if source[i] >= 0 else "",
                plain=source[i] >= 0 and not _norm_between(graph, i),
            )
        )
    order = [i for i in sorted(range(len(graph.names)), reverse=True) if graph.matrix[i] and not graph.loss_side[i]]
    return Anatomy(
        weights=tuple(dict.fromkeys(graph.path[i] for i in order)),
        heads=frozenset(graph.path[i] for i in order if not later[i]),
        activations=tuple(dict.fromkeys(activations)),
        shapes=seen.shapes,
        attentions=tuple(
            dict.fromkeys(
                graph.path[i]
                for i in sorted(range(len(graph.names)), reverse=True)
                if not graph.loss_side[i] and "ScaledDotProduct" in graph.names[i]
            )
        ),
        normed=frozenset(normed),
        before={graph.path[i]: _fed_by(graph, source, i) for i in order},
        additions=tuple(
            dict.fromkeys(
                graph.runner[i]
                for i in sorted(range(len(graph.names)), reverse=True)
                if kinds.is_add(graph.names[i]) and len(graph.edges[i]) == 2 and not graph.loss_side[i]
            )
        ),
        sequence=seen.sequence,
        detached={s: line_of(*s) for s, n in seen.detaches.items() if n >= OFTEN and s[0] is not None},
        loss_ops=tuple(
            dict.fromkeys(kinds.base_name(n) for n, s in zip(graph.names, graph.loss_side, strict=True) if s)
        ),
    )


def _sources(graph: Graph) -> list[int]:
    """Per operation the nearest weight operation that it reads."""
    nearest = weight_sources(graph)
    return [nearest[edges[0][1]] if edges else -1 for edges in graph.edges]


def _fed_by(graph: Graph, source: list[int], i: int) -> str:
    """The weight layer behind the activation that a weight layer reads."""
    while graph.edges[i]:
        i = graph.edges[i][0][1]
        if graph.matrix[i] or kinds.is_add(graph.names[i]):
            return ""
        if kinds.is_elementwise_slope(graph.names[i]):
            return graph.path[source[i]] if source[i] >= 0 else ""
    return ""


def _norm_between(graph: Graph, i: int) -> bool:
    while graph.edges[i]:
        i = graph.edges[i][0][1]
        if graph.matrix[i]:
            return False
        if graph.kind[i] == "norm":
            return True
    return False


def _role(graph: Graph, readers: dict[int, list[int]], later: Sequence[bool], i: int) -> Role:
    for c in readers[i]:
        if kinds.base_name(graph.names[c]) == "Mul" and len(graph.edges[c]) > 1:
            return "gate"
    return "hidden" if later[i] else "output"


def _has_matrix(module: nn.Module | None) -> bool:
    return module is not None and any(p.dim() >= 2 for p in module.parameters(recurse=False))
