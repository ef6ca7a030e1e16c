"""Initialisers: weights drawn so that the gradient keeps its size, in the manner of torch.nn.init.

Each works in place and returns what it was given: a tensor, or a module whose every Linear and Conv
it re-draws, biases included.  Randomness comes from `generator` alone, drawn on its device, so that
a seed gives the same weights everywhere.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fadeout.call import privates
from fadeout.call.chance import kept_torch_state
from fadeout.theory.activation import Activation, Elementwise
from fadeout.theory.critical import Critical, find_critical
from fadeout.theory.residual import fixup_scale

Target = TypeVar("Target", Tensor, nn.Module)

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WEIGHTED = (nn.Linear, *_CONVS)
_GATED = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)
_NORMS = (privates.BatchNorm, privates.InstanceNorm, nn.LayerNorm, nn.GroupNorm)


def critical_(
    target: Target,
    phi: Activation | Elementwise | Critical,
    *,
    sigma_b: float | None = None,
    generator: torch.Generator,
) -> Target:
    """Gaussian weights N(0, sigma_w^2 / fan_in), biases N(0, sigma_b^2), on the edge of chaos.

    Args:
        target: Weight of shape (out, in, ...), or a module.
        phi: The activation between the layers, or its critical point.
        sigma_b: Bias scale; None for the smallest one that is stable enough, see `find_critical`.
        generator: Source of randomness.

    Raises:
        ValueError: If the activation has no critical point (softplus) or nothing can be re-drawn.

    Source: Schoenholz et al., arXiv:1611.01232.
    """
    sigma_w, bias = _scales("critical_", phi, sigma_b)
    return _fill("critical_", target, partial(_scaled_normal, scale=sigma_w, generator=generator), bias, generator)


def orthogonal_critical_(
    target: Target,
    phi: Activation | Elementwise | Critical,
    *,
    sigma_b: float | None = None,
    generator: torch.Generator,
) -> Target:
    """Orthogonal weights with the entry variance sigma_w^2 / fan_in, on the edge of chaos.

    A square matrix has all singular values sigma_w.  Kernels are flattened to (out, fan_in), which
    is not an isometry of the convolution: for that, `delta_orthogonal_`.

    Args:
        target: Weight of shape (out, in, ...), or a module.
        phi: The activation between the layers, or its critical point.
        sigma_b: Bias scale; None as in `critical_`.
        generator: Source of randomness.

    Source: Saxe et al., arXiv:1312.6120; Pennington et al., arXiv:1711.04735.
    """
    sigma_w, bias = _scales("orthogonal_critical_", phi, sigma_b)

    def draw(weight: Tensor) -> None:
        wide = max(weight.shape[0] / _fan_in(weight), 1.0)  # nn.init gives variance 1 / out when out > in
        weight.copy_(_orthogonal(weight.flatten(1), generator).view(weight.shape) * (sigma_w * math.sqrt(wide)))

    return _fill("orthogonal_critical_", target, draw, bias, generator)


def delta_orthogonal_(target: Target, *, gain: float = 1.0, generator: torch.Generator) -> Target:
    """Zero kernels with an orthogonal centre tap: a convolution that is an isometry times `gain`.

    Biases become 0.  On a module, every Conv is re-drawn and nothing else is touched.

    Args:
        target: Kernel of shape (out, in, k, ...), odd k for a true centre, or a module.
        gain: Singular value; the sigma_w of `find_critical` for the activation.
        generator: Source of randomness.

    Raises:
        ValueError: If out < in (no isometry exists), a convolution is grouped, or there is none.

    Source: Xiao et al., "10,000-Layer Vanilla CNNs", arXiv:1806.05393.
    """
    if not math.isfinite(gain):
        raise ValueError(f"delta_orthogonal_: gain must be finite, got {gain}; pass a sigma_w")

    def draw(weight: Tensor) -> None:
        if weight.dim() < 3:
            raise ValueError(
                f"delta_orthogonal_: a kernel has at least 3 dimensions, got shape {tuple(weight.shape)}; "
                "use orthogonal_critical_ for a matrix"
            )
        outputs, inputs = weight.shape[:2]
        if outputs < inputs:
            raise ValueError(
                f"delta_orthogonal_: {outputs} output channels can't hold {inputs} input channels; "
                "widen the layer, or use orthogonal_critical_ for it"
            )
        centre = 0
        for size in weight.shape[2:]:
            centre = centre * size + size // 2
        kernel = weight.new_zeros((*weight.shape[:2], weight[0, 0].numel()))
        kernel[:, :, centre] = gain * _orthogonal(kernel[:, :, 0], generator).to(weight.dtype)
        weight.copy_(kernel.view(weight.shape))

    if isinstance(target, nn.Module):
        grouped = [n for n, m in _layers(target, _CONVS) if isinstance(m, _CONVS) and m.groups > 1]
        if grouped:
            raise ValueError(
                f"delta_orthogonal_: {grouped[0]!r} is a grouped convolution; use orthogonal_critical_ for it"
            )
    return _fill("delta_orthogonal_", target, draw, 0.0, generator, kinds=_CONVS)


@torch.no_grad()
def lsuv_(
    module: nn.Module,
    batch: Tensor | Sequence[object] | Mapping[str, object],
    *,
    variance: float = 1.0,
    generator: torch.Generator,
) -> nn.Module:
    """Layer-sequential unit variance: orthogonal weights, each rescaled on data in forward order.

    Biases start at 0, so a layer's output is linear in its weight and one division is exact: the
    whole net takes one forward pass.  Norms' buffers and the random state are put back.

    Args:
        module: A model whose Linear and Conv layers are to be initialised.
        batch: Input: a tensor, a sequence of arguments, or a mapping of keyword arguments.
        variance: Output variance to reach, > 0.
        generator: Source of randomness.

    Raises:
        ValueError: If a layer's output has no variance or is not finite on this batch; the
            weights are then what they were.

    Source: Mishkin and Matas, "All you need is a good init", arXiv:1511.06422.
    """
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(f"lsuv_: variance must be finite and > 0, got {variance}; 1 is usual")
    kept = [(tensor, tensor.clone()) for tensor in (*module.parameters(), *module.buffers())]
    buffers = {id(buffer) for buffer in module.buffers()}
    done: set[int] = set()
    handles = []
    finished = False
    try:
        for name, layer in _layers(module, _WEIGHTED):
            _draw_layer("lsuv_", name, layer, lambda w: w.copy_(_orthogonal(w.flatten(1), generator).view(w.shape)))
            handles.append(layer.register_forward_hook(_rescale(name, variance, done)))
        if not handles:
            raise ValueError(_nothing("lsuv_", module, _WEIGHTED))
        with kept_torch_state():
            if isinstance(batch, Tensor):
                module(batch)
            elif isinstance(batch, Mapping):
                module(**batch)
            else:
                module(*batch)
        finished = True
    finally:
        for handle in handles:
            handle.remove()
        for tensor, old in kept:
            if id(tensor) in buffers or not finished:
                tensor.copy_(old)
    return module


def _rescale(name: str, variance: float, done: set[int]) -> Callable[..., Tensor | None]:
    def hook(layer: nn.Module, _: object, output: Tensor) -> Tensor | None:
        if id(layer) in done:
            return None  # a shared layer is scaled at its first use
        done.add(id(layer))
        spread = float(output.to(torch.float64).var())
        if not (math.isfinite(spread) and spread > 0):
            raise ValueError(
                f"lsuv_: the output of {name!r} has variance {spread} on this batch; "
                "pass at least two distinct samples, and look for dead or infinite units before it"
            )
        factor = math.sqrt(variance / spread)
        assert isinstance(layer.weight, Tensor)
        layer.weight.mul_(factor)
        return output * factor

    return hook


def fixup_(
    branches: Sequence[nn.Module], *, head: nn.Module | None = None, generator: torch.Generator
) -> Sequence[nn.Module]:
    """Fixup for residual nets without norms: branches start at 0 and grow in step with depth.

    The last weight layer of every branch and of the head becomes 0, the others He-normal times
    L^(-1/(2m - 2)) for L branches of m layers; biases become 0.  Fixup's scalar biases and
    multipliers belong to the architecture and are not added.

    Args:
        branches: The residual branches f_l of x + f_l(x), each a module with its layers in
            order of execution.
        head: Classifier whose last layer starts at 0; None to leave it.
        generator: Source of randomness.

    Raises:
        ValueError: If a branch has no Linear or Conv, or contains a norm, which Fixup replaces.

    Source: Zhang, Dauphin, Ma, "Fixup Initialization", arXiv:1901.09321.
    """
    if isinstance(branches, nn.Module) and not isinstance(branches, (nn.ModuleList, nn.Sequential)):
        raise ValueError(
            f"fixup_: got one {type(branches).__name__}; pass the list of residual branches, "
            "e.g. [block.branch for block in model.blocks]"
        )
    found = []
    for index, branch in enumerate(branches):
        layers = list(_layers(branch, _WEIGHTED))
        if not layers:
            raise ValueError(f"fixup_: branch {index}: " + _nothing("", branch, _WEIGHTED)[2:])
        norms = [name for name, m in branch.named_modules() if isinstance(m, _NORMS)]
        if norms:
            raise ValueError(f"fixup_: branch {index} holds the norm {norms[0]!r}; Fixup replaces norms: remove it")
        found.append(layers)
    if not found:
        raise ValueError("fixup_: no branches; pass the residual branches of the net")
    for layers in found:
        scale = fixup_scale(len(found), layers=len(layers)) * math.sqrt(2)
        draw = partial(_scaled_normal, scale=scale, generator=generator)
        for name, layer in layers[:-1]:
            _draw_layer("fixup_", name, layer, draw)
    lasts = [layers[-1] for layers in found] + list(_layers(head, _WEIGHTED) if head is not None else ())[-1:]
    for name, layer in lasts:
        _draw_layer("fixup_", name, layer, lambda w: w.zero_())
    return branches


@torch.no_grad()
def chrono_(module: nn.Module, longest: int, *, generator: torch.Generator) -> nn.Module:
    """Chrono initialisation: gates that remember up to `longest` steps, evenly spread.

    LSTM: forget bias ln U[1, T - 1], input bias its negative.  GRU (torch: h = (1 - z) n + z h):
    update bias ln U[1, T - 1].  torch adds bias_ih and bias_hh, so the first carries the value
    and the second is 0; the other gates' biases become 0 too.  Weights stay.

    Args:
        module: LSTM, GRU, LSTMCell or GRUCell, or a module that contains them.
        longest: Longest time scale T to be remembered, steps, > 2.
        generator: Source of randomness.

    Raises:
        ValueError: If there is no gated recurrent layer with biases.

    Source: Tallec and Ollivier, arXiv:1804.11188.
    """
    if not longest > 2:
        raise ValueError(f"chrono_: longest is a time scale in steps and must be > 2, got {longest}; pass T")
    gated = [(n, m) for n, m in module.named_modules() if isinstance(m, _GATED)]
    if not gated:
        raise ValueError(
            f"chrono_: {type(module).__name__} has no LSTM or GRU; for a plain RNN use orthogonal_critical_"
        )
    for name, layer in gated:
        if not layer.bias:
            raise ValueError(f"chrono_: {name or type(layer).__name__!r} has no biases; build it with bias=True")
        for key, parameter in layer.named_parameters(recurse=False):
            if key.startswith("bias_hh"):
                parameter.zero_()
            elif key.startswith("bias_ih"):
                _set_gates(parameter, layer, float(longest), generator)
    return module


def _set_gates(bias: Tensor, layer: nn.Module, longest: float, generator: torch.Generator) -> None:
    lstm = isinstance(layer, (nn.LSTM, nn.LSTMCell))
    units = len(bias) // (4 if lstm else 3)
    keep = torch.empty(units, device=generator.device).uniform_(1, longest - 1, generator=generator).log()
    bias.zero_()
    bias[units : 2 * units] = keep.to(bias)  # torch's order: i, f, g, o and r, z, n
    if lstm:
        bias[:units] = -keep.to(bias)


def _scales(caller: str, phi: Activation | Elementwise | Critical, sigma_b: float | None) -> tuple[float, float]:
    point = phi if isinstance(phi, Critical) else find_critical(phi, sigma_b=sigma_b)
    if point.sigma_w is None:
        hint = "find_critical(..).nearest is the nearest stable choice" if point.nearest else "change it"
        raise ValueError(f"{caller}: {point.activation} has {point.reason}; {hint}")
    return point.sigma_w, point.sigma_b


@torch.no_grad()
def _fill(
    caller: str,
    target: Target,
    draw: Callable[[Tensor], object],
    sigma_b: float,
    generator: torch.Generator,
    *,
    kinds: tuple[type[nn.Module], ...] = _WEIGHTED,
) -> Target:
    if isinstance(target, Tensor):
        if target.dim() < 2 or not target.numel():
            raise ValueError(
                f"{caller}: a weight has shape (out, in, ...), got {tuple(target.shape)}; pass the weight, not a bias"
            )
        draw(target)
        return target
    layers = list(_layers(target, kinds))
    if not layers:
        raise ValueError(_nothing(caller, target, kinds))
    for name, layer in layers:
        _draw_layer(caller, name, layer, draw, sigma_b, generator)
    return target


@torch.no_grad()
def _draw_layer(
    caller: str,
    name: str,
    layer: nn.Module,
    draw: Callable[[Tensor], object],
    sigma_b: float = 0.0,
    generator: torch.Generator | None = None,
) -> None:
    if is_parametrized(layer, "weight"):
        raise ValueError(
            f"{caller}: the weight of {name!r} is computed by a parametrization; "
            "remove it, initialise, then add it again"
        )
    if isinstance(layer.weight, nn.parameter.UninitializedParameter):
        raise ValueError(f"{caller}: {name!r} is lazy and has no shape yet; run one forward pass first")
    assert isinstance(layer.weight, Tensor)
    draw(layer.weight)
    if isinstance(layer.bias, Tensor):
        if sigma_b and generator is not None:
            _normal(layer.bias, sigma_b, generator)
        else:
            layer.bias.zero_()


def _layers(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in module.named_modules():
        if isinstance(layer, kinds):
            yield name or type(layer).__name__, layer


def _nothing(caller: str, module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> str:
    wanted = ", ".join(kind.__name__ for kind in kinds)
    return f"{caller}: {type(module).__name__} contains none of {wanted}; pass a module that does"


def _fan_in(weight: Tensor) -> int:
    return weight[0].numel()


def _scaled_normal(weight: Tensor, *, scale: float, generator: torch.Generator) -> None:
    _normal(weight, scale / math.sqrt(_fan_in(weight)), generator)


def _normal(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    wide = torch.promote_types(tensor.dtype, torch.float32)
    fresh = torch.empty(tensor.shape, dtype=wide, device=generator.device)
    tensor.copy_(fresh.normal_(0.0, std, generator=generator))


def _orthogonal(matrix: Tensor, generator: torch.Generator) -> Tensor:
    """Orthonormal rows or columns, of the shape and on the device of the matrix."""
    wide = torch.promote_types(matrix.dtype, torch.float32)
    fresh = torch.empty(matrix.shape, dtype=wide, device=generator.device)
    return nn.init.orthogonal_(fresh, generator=generator).to(matrix.device)
