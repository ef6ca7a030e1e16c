"""Cuts: the calls of a forward at which the graph is let go, and the layers that lose their gradient by it."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import Node

from fadeout.probe.graph.lines import line_of
from fadeout.records import Gap

MOST = 512  # tensors that are remembered: a forward lets go of many that still get their gradient otherwise
EACH = 4  # calls on one of them
GOING = frozenset({"item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__int__"})  # return no tensor
Origin = tuple[str, str, str, CodeType | None, int]  # path, owner class, function, code, instruction
# What people write to let go, before what chooses by value, before what only looks (comparisons, logging).
_RANK = {
    **dict.fromkeys("checkpoint detach data no_grad".split(), 0),
    **dict.fromkeys(
        """numpy array argmax argmin argsort max min topk sort multinomial bernoulli round sign floor ceil searchsorted
        bucketize long int to one_hot""".split(),
        1,
    ),
}


def node_of(tensor: Tensor) -> Node | None:
    """The autograd node that made a tensor; None for a leaf, and where autograd refuses to say.

    It does for a view made under no_grad whose base was written into since (`nn.init.orthogonal_`).
    """
    try:
        return tensor.grad_fn
    except RuntimeError:
        return None


class Caller(Protocol):
    """What tells a cut where it was made."""

    def origin_of_call(self, name: str) -> Origin: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """One call that took a tensor with a gradient and gave one without.

    Attributes:
        order: Running number of the call.
        op: "detach", "argmax", "data", "no_grad"; "" where a module let go in a way that was not seen.
        source: The graph behind the tensor, None for a leaf.
        leaf: The tensor itself, where it is a leaf.
    """

    order: int
    path: str
    op: str
    code: CodeType | None
    instruction: int
    source: Node | None
    leaf: Tensor | None

    @property
    def rank(self) -> int:
        return _RANK.get(self.op, 2)


class Cuts:
    """Remembers them while a forward runs.

    Most are innocent: a rotary embedding asks a tensor for its device under no_grad, and the tensor
    still gets its gradient.  Guilty are those whose tensor no way from the loss leads to.
    """

    def __init__(self) -> None:
        self._at: dict[int, list[Cut]] = {}
        self._count = 0
        self._within: tuple[str, str, CodeType | None, int] | None = None
        self._blind: dict[int, tuple[weakref.ref[Tensor], Node | None]] = {}  # without a graph; what it was made of

    @contextmanager
    def inside(self, op: str, origin: Origin) -> Iterator[None]:
        """What is let go in here is one operation's doing."""
        before = self._within
        self._within = before or (origin[0], op, *origin[3:])
        try:
            yield
        finally:
            self._within = before

    def call(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], caller: Caller) -> None:
        """A function returned something without a gradient."""
        for tensor in args[:3]:
            if isinstance(tensor, Tensor) and tensor.requires_grad and (known := self._calls_at(tensor)) is not None:
                if self._within is not None:
                    self._note(known, tensor, *self._within)
                    continue
                path, _, _, code, instruction = caller.origin_of_call(name)
                if code is None:
                    return
                if name == "__get__":
                    name = getattr(getattr(func, "__self__", None), "__name__", "")
                    if name != "data":
                        return
                op = name.strip("_") if torch.is_grad_enabled() or name == "detach" else "no_grad"
                self._note(known, tensor, path, op, code, instruction)

    def follow(self, args: Iterable[Any], out: Tensor) -> None:
        """A function returned a tensor without a gradient; remember it if what it was made of has one, or had."""
        for one in args:
            for tensor in one if isinstance(one, (list, tuple)) else (one,):
                if isinstance(tensor, Tensor) and (tensor.requires_grad or self.blind(tensor)):
                    self._remember(tensor, out)
                    return

    def _remember(self, source: Tensor, out: Tensor) -> None:
        if len(self._blind) >= MOST:
            self._blind = {key: found for key, found in self._blind.items() if found[0]() is not None}
        if len(self._blind) < MOST:
            before = self._blind.get(id(source)) if not source.requires_grad else None
            self._blind[id(out)] = weakref.ref(out), before[1] if before is not None else node_of(source)

    def blind(self, tensor: Tensor) -> bool:
        """Whether a tensor without a graph was made of tensors that have one."""
        known = self._blind.get(id(tensor))
        return known is not None and known[0]() is tensor

    def source(self, tensor: Tensor) -> Node | None:
        """The graph that such a tensor was made of."""
        return self._blind[id(tensor)][1] if self.blind(tensor) else None

    def module(self, given: Iterable[Tensor], path: str) -> None:
        """A module took tensors with a gradient and returned none with one."""
        for tensor in given if self._within is None else ():
            if tensor.requires_grad and (known := self._calls_at(tensor)) is not None and not known:
                self._note(known, tensor, path, "" if torch.is_grad_enabled() else "no_grad", None, 0)

    def _calls_at(self, tensor: Tensor) -> list[Cut] | None:
        node = node_of(tensor)
        key = id(node) if node is not None else id(tensor)
        known = self._at.get(key)
        if known is None:
            if len(self._at) >= MOST:
                return None
            known = self._at[key] = []
        return known if len(known) < EACH else None

    def _note(
        self, known: list[Cut], tensor: Tensor, path: str, op: str, code: CodeType | None, instruction: int
    ) -> None:
        self._count += 1
        node = node_of(tensor)
        known.append(Cut(self._count, path, op, code, instruction, node, tensor if node is None else None))

    def gaps(self, reached: Callable[[Node], bool], alive: set[int], homes: dict[int, str]) -> tuple[Gap, ...]:
        """The guilty ones, with the layers behind each.

        Args:
            reached: Whether the way from the loss leads to a node.
            alive: Ids of the leaf tensors that it leads to.
            homes: Path of the module that holds each trained parameter, by its id.
        """
        every = [cut for cuts in self._at.values() for cut in cuts]
        guilty = [
            c for c in every if (not reached(c.source) if c.source is not None else id(c.leaf) in homes.keys() - alive)
        ]
        found: list[Gap] = []
        seen: set[Node] = set()
        for cut in sorted(guilty, key=lambda c: (c.rank, -c.order)):
            lost = _behind(cut, seen, homes)
            if lost:
                line = line_of(cut.code, cut.instruction) if cut.code is not None else ""
                found.append(Gap(path=cut.path, op=cut.op, line=line, layers=tuple(dict.fromkeys(lost))))
        return tuple(found)

    def release(self) -> None:
        """Let go of the graph."""
        self._at.clear()


def _behind(cut: Cut, seen: set[Node], homes: dict[int, str]) -> list[str]:
    """Paths of the trained modules behind a cut that no other cut was blamed for."""
    if cut.leaf is not None:
        return [homes[id(cut.leaf)]]
    found: list[str] = []
    waiting = [cut.source]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in homes:
            found.append(homes[id(variable)])
        waiting += [below for below, _ in node.next_functions]
    return found
