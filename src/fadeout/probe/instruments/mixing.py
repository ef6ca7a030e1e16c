"""Streams: several residual streams mixed at every layer, and what the product of all mixings does."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call.question import Question
from fadeout.probe.account.norms import read
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import How, Instrument, Observed
from fadeout.records import Streams

WIDEST = 16  # streams; published designs use 2 to 8
LEAST = 3  # mixings of the same streams in a row
TOKENS = 64  # looked at
_PRODUCTS = frozenset({"matmul", "bmm", "__matmul__", "einsum"})


class Mixing(Instrument):
    """Collects n x n matrices that are applied to a tensor of n streams, (..., n, C), in order.

    Source of the composite gains: mHC (arXiv:2512.24880), caption of figure 3: forward the
    largest absolute row sum of the product of all mixings, backward the largest column sum,
    averaged over tokens.
    """

    hows = frozenset({"whole", "start"})

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._product: Tensor | None = None
        self._streams: torch.Size | None = None
        self._path = ""
        self._layers = 0

    def forward(self, names: Names) -> None:
        self._product, self._streams, self._path, self._layers = None, None, "", 0
        names.listen(self, calls=_PRODUCTS)

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        return {}

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Modules say nothing that their operations do not."""

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """A product of two tensors: is one a mixing, the other the streams?"""
        if function not in _PRODUCTS or node is None or out.dim() < 3:
            return
        matrix = _einsum(args, out) if function == "einsum" else _matmul(args, out)
        if matrix is None or (self._streams is not None and out.shape != self._streams):
            return
        width = matrix.shape[-1]
        flat = matrix.detach().double().reshape(-1, width, width)
        flat = flat[:: -(-len(flat) // TOKENS)]
        before = self._product
        if before is not None and before.shape[-1] != width:
            return
        self._product = flat if before is None else flat @ before
        self._streams = out.shape
        self._path = self._path or path
        self._layers += 1

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"streams": self.streams()}

    def streams(self) -> Streams | None:
        """What the product of all mixings does; None where there are no streams."""
        product = self._product
        if product is None or self._layers < LEAST:
            return None
        rows, columns = product.sum(-1).abs(), product.sum(-2).abs()
        values = torch.linalg.svdvals(product)
        numbers = read(
            [
                rows.amax(-1).mean(),
                columns.amax(-1).mean(),
                columns.mean(0).log10().abs().amax(),
                (values[:, 1] / values[:, 0]).mean(),
            ]
        )
        if not math.isfinite(numbers[0]):
            return None
        return Streams(
            path=self._path,
            width=product.shape[-1],
            layers=self._layers,
            forward=numbers[0],
            backward=numbers[1],
            columns=numbers[2],
            distinct=numbers[3],
        )


def _matmul(args: tuple[Any, ...], out: Tensor) -> Tensor | None:
    """A (..., n, n) on the left of (..., n, C); rows of the result are streams."""
    if len(args) < 2 or not all(isinstance(a, Tensor) for a in args[:2]):
        return None
    matrix, streams = args[0], args[1]
    return matrix if _fits(matrix, streams, out) else None


def _einsum(args: tuple[Any, ...], out: Tensor) -> Any:
    """The mixing of an einsum over streams, its contracted index last."""
    operands = args[1:] if len(args) == 3 else args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else ()
    if not isinstance(args[0], str) or len(operands) != 2 or "->" not in args[0]:
        return None
    inputs, result = args[0].replace(" ", "").split("->")
    names = inputs.split(",")
    for matrix, streams, mixed, carried in ((*operands, *names), (*operands[::-1], *names[::-1])):
        pair, channels = mixed[-2:], carried[-1:]
        if len(mixed) < 2 or not channels or result[-1:] != channels or not _fits(matrix, streams, out):
            continue
        new, old = result[-2:-1], carried[-2:-1]
        if pair == new + old:
            return matrix
        if pair == old + new:
            return matrix.mT
    return None


def _attends(node: Node | None) -> bool:
    """Whether a matrix is a softmax of something, dropped out or not: attention over a few positions."""
    for _ in range(3):
        if node is None:
            return False
        if "Softmax" in node.name():
            return True
        node = next((n for n, _ in node.next_functions if n is not None), None)
    return False


def _fits(matrix: Any, streams: Any, out: Tensor) -> bool:
    if not isinstance(matrix, Tensor) or not isinstance(streams, Tensor):
        return False
    if matrix.dim() < 2 or streams.dim() < 3 or out.shape != streams.shape:
        return False
    if _attends(matrix.grad_fn):
        return False
    n = matrix.shape[-1]
    return 2 <= n <= WIDEST and matrix.shape[-2] == n == streams.shape[-2] and streams.shape[-1] > n
