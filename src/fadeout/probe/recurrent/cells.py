"""The cells of torch's recurrent layers: their weights, one step of each, and its derivative."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Names of what a step computes, in the order of its rows in W_ih and W_hh.
GATES: dict[str, tuple[str, ...]] = {
    "RNN_TANH": ("state",),
    "RNN_RELU": ("state",),
    "LSTM": ("input", "forget", "candidate", "output"),
    "GRU": ("reset", "keep", "candidate"),
}
SIGMOIDS = frozenset({"input", "forget", "output", "reset", "keep"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The parameters of one layer and direction: the module's own objects, or upcast ones."""

    mode: str
    w_ih: Tensor  # (G H, I)
    w_hh: Tensor  # (G H, P)
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None  # (P, H), an LSTM's projection

    @property
    def flat(self) -> list[Tensor]:
        """In the order torch's own functions take them."""
        return [w for w in (self.w_ih, self.w_hh, self.b_ih, self.b_hh, self.w_hr) if w is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What turns the gradient at a stretch of S steps into the gradient one step earlier.

    Attributes:
        gates: Factor on the way to each gate's pre-activation on the hidden side, (S, B, G, H).
        candidate: The same of a GRU's candidate on the input side, (S, B, H).
        keep: Direct way to the step before: the forget gate f or the keep gate z, (S, B, H).
        enter: From h (before the projection) into the cell, o (1 - tanh^2 c), (S, B, H).
        cell: c at the last step of the stretch, (B, H).
        openness: Sum over valid steps and units of each gate's value, (G,).
        slope: The same of each gate's derivative.
    """

    gates: Tensor
    candidate: Tensor | None
    keep: Tensor | None
    enter: Tensor | None
    cell: Tensor | None
    openness: Tensor
    slope: Tensor


def recurrent(module: object, function: str) -> nn.RNNBase:
    """The module, if it is one of torch's recurrent layers."""
    if not isinstance(module, nn.RNNBase) or module.mode not in GATES:
        raise TypeError(
            f"{function}: needs an nn.RNN, nn.LSTM or nn.GRU, got {type(module).__name__}; "
            "pass the recurrent layer itself, hand-written loops are seen through the trace"
        )
    return module


def weights(module: nn.RNNBase, layer: int, direction: int, *, upcast: bool = False) -> Weights:
    """Parameters of one layer (data side 0) and direction (0 forward, 1 reverse).

    Args:
        upcast: Detached and at least float32, for computing beside the model.
    """
    suffix = f"_l{layer}" + ("_reverse" if direction else "")

    def get(name: str) -> Tensor:
        value: Tensor = getattr(module, name + suffix)
        if upcast:
            value = value.detach()
            value = value if value.dtype in (torch.float32, torch.float64) else value.float()
        return value

    return Weights(
        mode=module.mode,
        w_ih=get("weight_ih"),
        w_hh=get("weight_hh"),
        b_ih=get("bias_ih") if module.bias else None,
        b_hh=get("bias_hh") if module.bias else None,
        w_hr=get("weight_hr") if module.proj_size else None,
    )


def step(
    w: Weights, projected: Tensor, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
    """One step of a cell, differentiable.

    Args:
        projected: W_ih x_t + b_ih, shape (B, G H).
        h: Hidden state before, (B, P).
        c: Cell state before, (B, H); None but for an LSTM.

    Returns:
        h, c and the gates as `GATES` names them.
    """
    inner = F.linear(h, w.w_hh, w.b_hh)
    if w.mode == "LSTM":
        assert c is not None
        i, f, g, o = (projected + inner).chunk(4, -1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * c + i * g
        out = o * torch.tanh(c)
        return (out if w.w_hr is None else F.linear(out, w.w_hr)), c, (i, f, g, o)
    if w.mode == "GRU":
        r_x, z_x, n_x = projected.chunk(3, -1)
        r_h, z_h, n_h = inner.chunk(3, -1)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + r * n_h)
        return n + z * (h - n), None, (r, z, n)
    out = torch.tanh(projected + inner) if w.mode == "RNN_TANH" else torch.relu(projected + inner)
    return out, None, (out,)


def factors(w: Weights, x: Tensor, before: Tensor, c: Tensor | None, valid: Tensor | None) -> Factors:
    """Derivatives of S steps at once, from the states that the fused layer went through.

    Args:
        x: Inputs, (S, B, I).
        before: Hidden states before each step, (S, B, P).
        c: Cell state before the first step, (B, H); None but for an LSTM.
        valid: Steps within their sequence, (S, B); None if all are.  Others get factor 0.
    """
    steps, batch = x.shape[:2]
    x, before = x.reshape(steps * batch, -1), before.reshape(steps * batch, -1)
    outside = F.linear(x, w.w_ih, w.b_ih)
    gates = len(GATES[w.mode])
    if w.mode == "GRU":
        inside = F.linear(before, w.w_hh, w.b_hh).view(steps, batch, 3, -1)
        z_all = outside.view(steps, batch, 3, -1)
        r, z = (z_all[:, :, :2] + inside[:, :, :2]).sigmoid_().unbind(2)
        recur = inside[:, :, 2]
        n = torch.addcmul(z_all[:, :, 2], r, recur).tanh_()
        to_candidate = (1 - z) * (1 - n * n)
        every = torch.stack(
            [
                to_candidate * recur * (r * (1 - r)),
                (before.view(steps, batch, -1) - n) * (z * (1 - z)),
                to_candidate * r,
            ],
            2,
        )
        made = _masked(
            Factors(
                gates=every,
                candidate=to_candidate,
                keep=z,
                enter=None,
                cell=None,
                openness=_total([r, z, n], valid),
                slope=_total([r * (1 - r), z * (1 - z), 1 - n * n], valid),
            ),
            valid,
        )
        return made
    outside.addmm_(before, w.w_hh.t())
    if w.b_hh is not None:
        outside += w.b_hh
    z_all = outside.view(steps, batch, gates, -1)
    if w.mode != "LSTM":
        state = z_all[:, :, 0]
        slope = 1 - state.tanh().square() if w.mode == "RNN_TANH" else (state > 0).to(x.dtype)
        return _masked(
            Factors(
                gates=slope.unsqueeze(2),
                candidate=None,
                keep=None,
                enter=None,
                cell=None,
                openness=_total([state], valid),
                slope=_total([slope], valid),
            ),
            valid,
        )
    assert c is not None
    z_all[:, :, 2] *= 2  # tanh z = 2 sigmoid(2 z) - 1: one pass over all four
    z_all.sigmoid_()
    z_all[:, :, 2].mul_(2).sub_(1)
    i, f, g, o = z_all.unbind(2)
    cells = torch.empty(steps + 1, batch, f.shape[-1], dtype=f.dtype, device=f.device)
    cells[0] = c
    torch.mul(i, g, out=cells[1:])
    for old, new, forget in zip(cells[:-1].unbind(0), cells[1:].unbind(0), f.unbind(0), strict=True):
        new.addcmul_(forget, old)
    squashed = cells[1:].tanh()
    enter = torch.addcmul(o, o * squashed, squashed, value=-1)
    slopes = torch.addcmul(z_all, z_all, z_all, value=-1)
    slopes[:, :, 2] = 1 - g * g
    openness, slope = _total([i, f, g, o], valid), _total(list(slopes.unbind(2)), valid)
    slopes[:, :, 0] *= g
    slopes[:, :, 1] *= cells[:-1]
    slopes[:, :, 2] *= i
    slopes[:, :, 3] *= squashed
    return _masked(
        Factors(
            gates=slopes,
            candidate=None,
            keep=f,
            enter=enter,
            cell=cells[-1],
            openness=openness,
            slope=slope,
        ),
        valid,
    )


def _total(values: list[Tensor], valid: Tensor | None) -> Tensor:
    if valid is None:
        return torch.stack([v.mean(-1).sum(dtype=torch.float64) for v in values])
    return torch.stack([(v.mean(-1) * valid).sum(dtype=torch.float64) for v in values])


def _masked(made: Factors, valid: Tensor | None) -> Factors:
    if valid is not None:
        mask = valid.unsqueeze(-1).to(made.gates.dtype)
        made.gates.mul_(mask.unsqueeze(-1))
        for part in (made.candidate, made.keep, made.enter):
            if part is not None:
                part.mul_(mask)
    return made
