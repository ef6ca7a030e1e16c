"""Checks before a race: the same seed must give the same program every time, and skill must be measurable."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import is_one, tensors
from fadeout.call.case import Case, Setup
from fadeout.call.failures import first_line, hint
from fadeout.engines.held_out import HeldOut
from fadeout.errors import FadeoutError, ModelError

_LOOKED_AT = 3  # batches at either end that are compared


def settled(case: Case) -> Case:
    """The case with batches that can be read as often as there are arms."""
    return replace(case, batches=_again(case.batches, "batches"), held_out=_again(case.held_out, "held_out"))


def _again(batches: Any, name: str) -> Any:
    if batches is None or callable(batches):
        return batches
    if is_one(batches):
        return [batches]
    if not isinstance(batches, Iterable):
        raise FadeoutError(
            f"trial: {name} is of type {type(batches).__name__}; pass a list of batches, a DataLoader, or a function "
            "that returns one"
        )
    return list(batches) if iter(batches) is batches else batches  # a generator gives its batches once


def fingerprint(case: Case, seed: int) -> str:
    """What a race runs on, as a digest: start weights and data of one seed.

    Raises:
        FadeoutError: If the same seed gives a different program the second time, or skill can't be measured.
    """
    first, second = case.build(seed), case.build(seed)
    if first.optimizer is None and first.train_step is None:
        raise FadeoutError(
            "trial: the case has no make_optimizer; pass one, such as functools.partial(torch.optim.Adam, lr=1e-3)"
        )
    _same(first, second, seed)
    try:
        skill = HeldOut(case, first).skill()
    except FadeoutError:
        raise
    except Exception as error:  # the user's network on the user's data
        said = f"{type(error).__name__}: {first_line(error)}{hint(first_line(error), 'step')}"
        raise ModelError(f"trial: the program fails without any treatment, on its held-out rows: {said}") from error
    if math.isnan(skill):
        raise FadeoutError(
            "trial: skill can't be measured on the held-out rows, so no arm can be scored; give the case its loss=, or "
            "skill=, a function of the model that returns 0 for the best constant output and 1 for perfect"
        )
    digest = hashlib.sha256()
    for key, value in _weights(second.model).items():
        digest.update(key.encode() + _bytes(value))
    digest.update(_data(second.batches) + _data(second.held_out))
    digest.update(repr(second.optimizer).encode())
    return digest.hexdigest()[:16]


def _same(first: Setup, second: Setup, seed: int) -> None:
    if first.model is second.model or _pointers(first.model) & _pointers(second.model):
        raise FadeoutError(
            "trial: make_model returns the same network, or the same weights, every time, so the arms of a race would "
            "train each other's; let it make a new one at each call"
        )
    one, two = _weights(first.model), _weights(second.model)
    if one.keys() != two.keys() or any(one[k].shape != two[k].shape for k in one):
        raise FadeoutError(
            f"trial: make_model gives a different network each time for seed {seed}; let it build the same layers at "
            "every call"
        )
    unlike = [k for k in one if _bytes(one[k]) != _bytes(two[k])]
    if unlike:
        raise FadeoutError(
            f"trial: make_model gives different weights each time for seed {seed} (first {unlike[0]!r}), so the arms "
            "of a race would not start alike; draw them from torch's own random state, which is seeded for every call, "
            "and not from a generator that is made once, the clock or the system"
        )
    if _data(first.batches) != _data(second.batches) or _data(first.held_out) != _data(second.held_out):
        raise FadeoutError(
            f"trial: the batches differ from call to call for seed {seed}, so the arms would not see the same data; "
            "shuffle with torch's own random state, or pass a list"
        )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    lazy = torch.nn.parameter.is_lazy
    return {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor) and not lazy(v)}


def _pointers(model: nn.Module) -> set[int]:
    return {p.data_ptr() for p in model.parameters() if not torch.nn.parameter.is_lazy(p) and p.numel()}


def _bytes(value: Tensor) -> bytes:
    """A digest of a tensor's bits."""
    plain = value.detach().cpu().contiguous()
    if plain.layout != torch.strided or plain.is_quantized or not plain.numel():
        return repr(plain).encode()
    return hashlib.sha256(plain.view(-1).view(torch.uint8).numpy().tobytes()).digest()


def _data(batches: Sequence[Any]) -> bytes:
    looked = [*batches[:_LOOKED_AT], *batches[-_LOOKED_AT:]]
    found = hashlib.sha256(str(len(batches)).encode())
    for batch in looked:
        for tensor in tensors(batch):
            found.update(_bytes(tensor))
    return found.digest()
