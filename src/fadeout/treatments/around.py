"""Around: a way around every hidden layer with its activation, where shapes allow or a projection helps."""

import math

import torch
from torch import nn

from fadeout.treatments.patient import Edit
from fadeout.treatments.skip import PROJECTION, Skip
from fadeout.treatments.surgery import Surgery


def around(on: Surgery) -> int:
    """How many layers have a way around now."""
    able = []
    for path, layer in on.layers():
        reader = on.anatomy.reader(path)
        shapes = on.anatomy.shapes.get(path)
        inside = any(path.startswith(f"{block}.") for block in on.anatomy.additions if block)
        if reader is None or reader.role != "hidden" or shapes is None or inside or path == on.anatomy.weights[0]:
            continue
        if shapes[0] == shapes[1] or isinstance(layer, nn.Linear):
            able.append((path, layer, reader, shapes))
    scale = 1.0 / math.sqrt(max(1, len(able)))
    skips: dict[object, Skip] = {}
    for path, layer, reader, shapes in able:
        skip = Skip(scale)
        if not reader.module:
            skip = skips.setdefault(reader.site, skip)
        if shapes[0] != shapes[1]:
            _project(on, layer)
        layer.register_forward_pre_hook(skip.keep)
        if reader.module:
            on.at(reader.path).register_forward_hook(skip.after)
        elif reader.site[0] is not None:
            on.wiring.skips[reader.site] = skip
        way = "x" if shapes[0] == shapes[1] else f"nn.Linear({shapes[0][-1]}, {shapes[1][-1]}, bias=False)(x)"
        until, line = (reader.path, "") if reader.module else ("", reader.line)
        on.write(Edit(what="skip", path=path, old="", new=f"{way} + {scale:.4g} * f(x)", line=line, until=until))
    return len(able)


def _project(on: Surgery, layer: nn.Module) -> None:
    """x W with orthogonal W, where the layer changes the width."""
    assert isinstance(layer, nn.Linear)
    projection = nn.Linear(layer.in_features, layer.out_features, bias=False)
    with torch.no_grad():
        nn.init.orthogonal_(projection.weight, generator=on.draw)
    projection.to(layer.weight)
    layer.add_module(PROJECTION, projection)
    on.train_too(layer.weight, list(projection.parameters()))
