"""Claims: what a reading of a live step may say of layers, beyond what was run again for it.

A step of a script may hold more than a probe runs again: another backward pass, an optimizer that trains another
part. Of what was not run again, a reading says nothing.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import replace

from torch import Tensor, nn

from fadeout.probe.graph.paths import readable_path
from fadeout.records import Layer, Reading


def fair(reading: Reading, root: nn.Module, elsewhere: Collection[int]) -> Reading:
    """The reading without claims that this step can't carry.

    Args:
        elsewhere: Ids of parameters that another optimizer of the script holds: nobody forgot them.
    """
    others = _layers_of(root, lambda p: id(p) in elsewhere) if reading.unheld else set()
    lost = {layer.path for layer in reading.layers if _without(layer, reading)}
    unseen = lost & _layers_of(root, _has_gradient, among=lost) if lost else set()
    if not unseen and others.isdisjoint(reading.unheld):
        return reading
    return replace(
        reading,
        layers=tuple(replace(r, update_ratio=math.nan) if r.path in unseen else r for r in reading.layers),
        detached=tuple(path for path in reading.detached if path not in unseen),
        unrecorded=tuple(path for path in reading.unrecorded if path not in unseen),
        silent=tuple(name for name in reading.silent if _layer(name) not in unseen),
        unheld=tuple(path for path in reading.unheld if path not in others),
    )


def _without(layer: Layer, reading: Reading) -> bool:
    lost = layer.path in reading.detached or layer.path in reading.unrecorded
    return lost or (layer.trained and layer.weight_gradient_norm == 0)


def _layers_of(root: nn.Module, asked: Callable[[Tensor], bool], among: Collection[str] | None = None) -> set[str]:
    """Paths of the layers with a parameter of which this is true."""
    return {
        _layer(name)
        for name, p in root.named_parameters(remove_duplicate=False)
        if (among is None or _layer(name) in among) and asked(p)
    }


def _layer(name: str) -> str:
    return readable_path(name.rpartition(".")[0])


def _has_gradient(parameter: Tensor) -> bool:
    """In the script itself there is one, and it is not all zero."""
    gradient = parameter.grad
    if gradient is None:
        return False
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.count_nonzero() > 0)
