"""The Jacobian of one time step of a recurrent layer, beside what theory bounds it by."""

import math
import warnings
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fadeout.errors import FadeoutError
from fadeout.probe.recurrent.cells import GATES, Weights, recurrent, step, weights
from fadeout.probe.recurrent.profiles import StepJacobian
from fadeout.probe.recurrent.unrolled import State, Step, sequence, unroll

T = TypeVar("T", Weights, Step)
NEAR = 1 << 21  # elements of the recurrent weight up to which the CPU computes
EXACT_UNITS = 128  # state entries up to which the whole matrix is formed: its SVD costs more from there on
SAMPLES = 8
SPARE = 4  # directions beyond those asked for: the subspace converges by the ratio to the first left out
ROUNDS = 300
TOLERANCE = 1e-4
SQUARINGS = 24


@torch.no_grad()
def step_jacobian(
    module: nn.RNNBase,
    x: Tensor | PackedSequence,
    hx: State | None = None,
    *,
    at: int | None = None,
    count: int = 3,
    samples: int = SAMPLES,
    path: str = "",
    seed: int = 0,
) -> tuple[StepJacobian, ...]:
    """Leading singular values of d state_t / d state_(t-1), for each layer and direction.

    The state is h, and (h, c) for an LSTM.  Up to 128 entries a state the matrix itself, beyond that
    subspace iteration with jvp and vjp, no matrix formed.

    Args:
        x, hx: The module's input.  Dropout between layers is left out.
        at: The step t, from 0; the last step of the longest sequence if None.
        count: Singular values wanted.
        samples: Sequences looked at, the longest first.

    Returns:
        One record a layer and direction, data side first.

    Raises:
        ValueError: No such step, or nothing asked for.
        FadeoutError: The state at that step is not finite.

    Source: Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063: the gradient must vanish where
        s_max(W_hh) sup|phi'| < 1, and can only explode where it is above 1.
    """
    module = recurrent(module, "step_jacobian")
    if count < 1 or samples < 1:
        raise ValueError(f"step_jacobian: count and samples must be at least 1, got {count} and {samples}")
    length = len(sequence(module, x, hx, function="step_jacobian").sizes)
    t = length - 1 if at is None else at
    if not 0 <= t < length:
        raise ValueError(f"step_jacobian: at={at} is no step of {length}; pass 0 to {length - 1}")
    seen: list[Step] = []
    training = module.training
    try:
        module.training = False  # on this module alone: it has no children
        unroll(module, x, hx, watch=lambda s: seen.append(s) if s.t == t else None)
    finally:
        module.training = training
    found = []
    for here in seen:
        w = weights(module, here.layer, here.direction, upcast=True)
        w, here = _near(w, here)
        values = _singular(w, here, min(samples, len(here.h)), count, seed)
        if not bool(torch.isfinite(values).all()):
            raise FadeoutError(
                f"step_jacobian: layer {here.layer} of '{path or type(module).__name__}' is not finite at "
                f"step {t}; look at an earlier step, or check the data there"
            )
        radius, bound = _theory(w)
        found.append(
            StepJacobian(
                path=path,
                layer=here.layer,
                direction="reverse" if here.direction else "forward",
                step=t,
                singular=tuple(values.median(0).values.tolist()),
                largest=float(values.max()),
                spectral_radius=radius,
                bound=bound,
            )
        )
    return tuple(found)


def _near(w: Weights, here: Step) -> tuple[Weights, Step]:
    """On the CPU where they are small: a round of few vectors takes a GPU longer to begin than to do."""
    if w.w_hh.numel() > NEAR:
        return w, here
    return _on_cpu(w), _on_cpu(here)


def _on_cpu(record: T) -> T:
    """A record with its tensors, and those in its tuples, on the CPU."""

    def moved(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(moved(part) for part in value)
        return value.cpu() if isinstance(value, Tensor) else value

    return replace(record, **{f.name: moved(getattr(record, f.name)) for f in fields(record)})


def _singular(w: Weights, here: Step, rows: int, count: int, seed: int) -> Tensor:
    """Singular values (rows, count) at the state that the step started from."""
    h, c = here.before
    wide, dtype = h.shape[-1], w.w_hh.dtype
    state = (h if c is None else torch.cat([h, c], -1))[:rows].to(dtype)
    projected = here.projected[:rows].to(dtype)

    def advance(flat: Tensor) -> Tensor:
        """Each row's next state; flat is (N, P) or (N, P + H), N a multiple of the rows."""
        cell = None if c is None else flat[:, wide:]
        new_h, new_c, _ = step(w, projected.repeat(len(flat) // rows, 1), flat[:, :wide], cell)
        return new_h if new_c is None else torch.cat([new_h, new_c], -1)

    def push(vectors: Tensor) -> Tensor:
        """J v for vectors (V, rows, D)."""
        many = state.repeat(len(vectors), 1)
        tangent = vectors.reshape(len(many), -1)
        with warnings.catch_warnings():
            # Forward mode loads decompositions of torch's own that warn about themselves.
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
            pushed: Tensor = torch.func.jvp(advance, (many,), (tangent,))[1]
        return pushed.view(vectors.shape)

    def pull(vectors: Tensor) -> Tensor:
        """J^T v for vectors (V, rows, D)."""
        back = torch.func.vjp(advance, state.repeat(len(vectors), 1))[1]
        pulled: Tensor = back(vectors.reshape(-1, vectors.shape[-1]))[0]
        return pulled.view(vectors.shape)

    size = state.shape[-1]
    count = min(count, size)
    if size <= EXACT_UNITS:
        eye = torch.eye(size, dtype=dtype, device=state.device)
        columns = push(eye.unsqueeze(1).expand(-1, rows, -1))
        return _values(columns, count)
    draw = torch.Generator().manual_seed(seed)
    many = min(count + SPARE, size)
    basis = torch.linalg.qr(torch.randn(rows, size, many, generator=draw, device="cpu").to(state)).Q
    old = state.new_zeros(rows, count)
    for _ in range(ROUNDS):
        forth = push(basis.permute(2, 0, 1).contiguous())
        values = _values(forth, count)
        settled = (values - old).abs() <= TOLERANCE * values[:, :1]
        if bool((settled | values.isnan()).all()):
            return values
        old = values
        basis = torch.linalg.qr(pull(forth).permute(1, 2, 0)).Q
    return old


def _values(columns: Tensor, count: int) -> Tensor:
    """Leading singular values (rows, count) of matrices given as columns (V, rows, D); nan if not finite."""
    matrices = columns.permute(1, 2, 0)
    if not bool(matrices.isfinite().all()):
        return matrices.new_full((len(matrices), count), math.nan)
    found: Tensor = torch.linalg.svdvals(matrices)
    return found[:, :count]


def _radius(square: Tensor) -> float:
    """Spectral radius; of a large matrix by Gelfand's formula, |W^n|^(1/n) with n = 2^SQUARINGS."""
    if len(square) <= EXACT_UNITS:
        return float(torch.linalg.eigvals(square).abs().max())
    log, power = 0.0, square
    for n in range(SQUARINGS + 1):
        size = float(torch.linalg.matrix_norm(power))
        if not size > 0 or not math.isfinite(size):
            return size
        log += math.log(size) / 2**n
        power = power / size
        power = power @ power
    return math.exp(log)


def _theory(w: Weights) -> tuple[float, float | None]:
    """Spectral radius of the recurrent weight, and Pascanu's bound (None for gated cells)."""
    names = GATES[w.mode]
    rows = w.w_hh.shape[0] // len(names)
    place = names.index("candidate") if len(names) > 1 else 0
    square = w.w_hh[place * rows : (place + 1) * rows].double()
    radius = math.nan
    if square.shape[0] == square.shape[1]:
        radius = _radius(square)
    # sup|phi'| is 1 for tanh and for relu.
    return radius, float(torch.linalg.matrix_norm(square, 2)) if len(names) == 1 else None
