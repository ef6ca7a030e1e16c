"""Data: real or random batches for a model that comes without one."""

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError

NAMES = ("digits", "random")


def digits(model: nn.Module, *, rows: int, verb: str) -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: 1,797 real scans of 8 x 8 pixels in ten classes, standardised.

    Shaped for the model's first layer: (N, C, 8, 8) for a convolution, (N, 8, 8) row by row
    where it reads 8 features, else (N, 64).

    Raises:
        FadeoutError: If scikit-learn is missing or the model reads something else.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise FadeoutError(f"{verb}: digits needs scikit-learn; pip install 'fadeout[lab]'") from error
    bundle = load_digits()
    order = torch.randperm(len(bundle.target), generator=torch.Generator().manual_seed(123), device="cpu")[:rows]
    x = torch.tensor(bundle.data, dtype=torch.float32, device="cpu") / 16
    x = ((x - x.mean()) / x.std())[order]
    y = torch.tensor(bundle.target, dtype=torch.int64, device="cpu")[order]
    device = _like(model).device
    return _shaped(model, x, verb).to(device), y.to(device)


def _shaped(model: nn.Module, x: Tensor, verb: str) -> Tensor:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return x.view(-1, 1, 8, 8).expand(-1, module.in_channels, -1, -1).contiguous()
        if isinstance(module, nn.Conv1d):
            channels = {1: (1, 64), 8: (8, 8), 64: (64, 1)}.get(module.in_channels)
            if channels:
                return x.view(-1, *channels)
        if isinstance(module, (nn.Linear, nn.RNNBase)):
            width = module.in_features if isinstance(module, nn.Linear) else module.input_size
            if width == 64:
                return x
            if width in (1, 8):
                return x.view(-1, 64 // width, width)
            raise FadeoutError(
                f"{verb}: the model's first layer reads {width} features, digits have 64 (or 8 rows of 8); "
                "return a batch from the factory or give --shape"
            )
    return x


def random_batch(model: nn.Module, shape: tuple[int, ...], *, rows: int, seed: int, vocabulary: int | None) -> Tensor:
    """Standard normal input (rows, *shape), or tokens below `vocabulary`; from a private generator."""
    draw = torch.Generator().manual_seed(seed)
    parameter = _like(model)
    if vocabulary is not None:
        return torch.randint(0, vocabulary, (rows, *shape), generator=draw, device="cpu").to(parameter.device)
    return torch.randn(rows, *shape, generator=draw, device="cpu").to(device=parameter.device, dtype=parameter.dtype)


def _like(model: nn.Module) -> Tensor:
    """A tensor on the model's device and of its dtype."""
    return next(model.parameters(), torch.zeros(0, device="cpu"))
