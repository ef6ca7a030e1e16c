"""Norms: one between a layer and the hidden activation that reads it, run by a hook of the layer."""

from typing import Any, Literal

from torch import nn

from fadeout.call import privates
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

Kind = Literal["layer", "batch", "rms", "group"]
NAME = "fadeout_norm"
FEWEST = 4  # features: a LayerNorm over fewer erases them


def normalise(on: Surgery, kind: Kind) -> int:
    """How many layers got a norm."""
    count = 0
    for path, layer in on.layers():
        reader = on.anatomy.reader(path)
        if reader is None or reader.role != "hidden" or path in on.anatomy.normed:
            continue
        norm = _made(kind, layer, on.anatomy.shapes.get(path))
        if norm is None:
            on.notes.append(f"{path}: no {kind} norm fits its output; it was left as it is")
            continue
        on.append(layer, NAME, norm, normed)
        on.write(Edit(what="norm", path=path, old=type(layer).__name__, new=f"nn.{norm!r}"))
        count += 1
    return count


def normed(module: nn.Module, args: Any, out: Any) -> Any:
    """A forward hook of the layer."""
    return module.fadeout_norm(out)  # type: ignore[operator]


def _made(kind: Kind, layer: nn.Module, shapes: Any) -> nn.Module | None:
    if isinstance(layer, privates.Conv):
        channels = layer.out_channels
        if kind == "batch":
            return {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[len(layer.kernel_size)](channels)
        groups = (
            1
            if kind != "group"
            else max(g for g in (32, 16, 8, 4, 2, 1) if (channels % g == 0 and channels // g > 1) or g == 1)
        )
        return nn.GroupNorm(groups, channels)
    assert isinstance(layer, nn.Linear)
    features = layer.out_features
    out: tuple[int, ...] = shapes[1] if shapes is not None else ()
    if kind == "batch" and len(out) == 2 and out[0] > 1:  # rows, features
        return nn.BatchNorm1d(features)
    if features < FEWEST:
        return None
    if kind == "rms":
        return nn.RMSNorm(features)
    return nn.LayerNorm(features)
