"""Encoders: what is changed in torch's transformer layers, and in projections of queries and keys."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.treatments.norms import NAME, normed
from fadeout.treatments.patient import Edit
from fadeout.treatments.skip import Scaled
from fadeout.treatments.surgery import Surgery

_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_QUERIES = frozenset("q_proj k_proj query key wq wk to_q to_k q k query_proj key_proj q_lin k_lin".split())


def _found(on: Surgery, *, first: bool) -> list[tuple[str, Any]]:
    return [(p, m) for p, m in on.model.named_modules() if isinstance(m, _LAYERS) and m.norm_first is first]


def norm_first(on: Surgery) -> int:
    """Layers whose norm now stands in the branch; their stack gets the last norm that pre-norm needs."""
    found = _found(on, first=False)
    for path, layer in found:
        layer.norm_first = True
        on.write(Edit(what="attribute", path=path, old="norm_first=False", new="norm_first=True"))
    for _, stack in on.model.named_modules():
        if isinstance(stack, (nn.TransformerEncoder, nn.TransformerDecoder)) and stack.norm is None:
            width = stack.layers[0].norm1.normalized_shape
            stack.norm = nn.LayerNorm(width).to(next(stack.parameters()))
            on.train_too(next(stack.parameters()), list(stack.norm.parameters()))
    return len(found)


def deep(on: Surgery) -> int:
    """Post-norm layers with branches divided by alpha (LN(alpha x + f) = LN(x + f / alpha)) and weights times beta."""
    found = [(p, m) for p, m in _found(on, first=False) if isinstance(m, nn.TransformerEncoderLayer)]
    alpha, beta = (2.0 * max(1, len(found))) ** 0.25, (8.0 * max(1, len(found))) ** -0.25
    for path, layer in found:
        width = layer.linear1.in_features
        for weight in (layer.linear1.weight, layer.linear2.weight, layer.self_attn.out_proj.weight):
            value = torch.empty(weight.shape, device="cpu")
            nn.init.xavier_normal_(value, gain=beta, generator=on.draw)
            on.set(weight, value)
        packed = layer.self_attn.in_proj_weight
        if isinstance(packed, Tensor):
            value = packed.detach().clone().cpu()
            part = torch.empty(width, width, device="cpu")
            nn.init.xavier_normal_(part, gain=beta, generator=on.draw)
            value[2 * width :] = part
            on.set(packed, value)
        layer.self_attn.register_forward_hook(Scaled(1.0 / alpha))
        layer.linear2.register_forward_hook(Scaled(1.0 / alpha))
        on.write(Edit(what="skip", path=path, old="", new=f"alpha {alpha:.4g}, beta {beta:.4g}"))
    return len(found)


def scale_norms(on: Surgery) -> int:
    """Pre-norm layers, their norms' outputs divided by the root of the layer's number."""
    found = [(p, m) for p, m in _found(on, first=True) if isinstance(m, nn.TransformerEncoderLayer)]
    for number, (path, layer) in enumerate(found, start=1):
        for norm in (layer.norm1, layer.norm2):
            norm.register_forward_hook(Scaled(1.0 / math.sqrt(number)))
        on.write(Edit(what="norm", path=path, old="", new=f"norms times {1 / math.sqrt(number):.4g}"))
    return len(found)


def norm_queries(on: Surgery) -> int:
    """RMS norms over the projections of queries and keys (as OLMo 2 does, over the whole width)."""
    count = 0
    for path, layer in on.model.named_modules():
        if isinstance(layer, nn.Linear) and path.rpartition(".")[2].lower() in _QUERIES:
            norm = nn.RMSNorm(layer.out_features)
            on.append(layer, NAME, norm, normed)
            on.write(Edit(what="norm", path=path, old="Linear", new=f"nn.{norm!r}"))
            count += 1
    return count
