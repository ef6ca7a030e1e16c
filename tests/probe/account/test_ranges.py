"""Below float32's range a larger seed says more, if backward is linear in it; where it is not, that is said."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout

X, Y = torch.randn(12, 16, generator=torch.Generator().manual_seed(3)), torch.arange(12) % 4


class Shrinks(torch.autograd.Function):
    """Clips the gradient by its norm."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g / max(1.0, float(g.norm()) / 1e-3)


def clamped(x: Tensor) -> Tensor:
    x.register_hook(lambda g: g.clamp(-1e-4, 1e-4))
    return x


def shortened(x: Tensor) -> Tensor:
    x.register_hook(lambda g: g * (1e-4 / g.norm().clamp_min(1e-4)))
    return x


BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "a hook that clamps": clamped,
    "a hook that clips": shortened,
    "a cast to half": lambda x: x.half().float(),
    "a function that clips": Shrinks.apply,
}


class Deep(nn.Module):
    def __init__(self, layers: int, bend: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(layers))
        self.head, self.bend = nn.Linear(16, 4), bend

    def forward(self, x: Tensor) -> Tensor:
        for n, layer in enumerate(self.layers):
            x = torch.sigmoid(layer(x))
            if n == len(self.layers) // 2:
                x = BENDS[self.bend](x)
        return self.head(x)


@pytest.mark.parametrize("layers", [12, 30, 60])
@pytest.mark.parametrize("bend", BENDS)
def test_what_float32_cannot_hold_is_exact_or_said_to_be_unknown(bend: str, layers: int) -> None:
    torch.manual_seed(0)
    model = Deep(layers, bend)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    wide, x = (model, X.clone()) if bend == "a cast to half" else (model.double(), X.double())
    (gradient,) = torch.autograd.grad(F.cross_entropy(wide(x.requires_grad_()), Y), x)
    norm = float(gradient.double().norm())
    true = math.log10(norm) if norm else -math.inf
    told = exam.ledger.log_gain
    assert exam.verdict != "flows"
    if math.isfinite(told) and math.isfinite(true) and true > -30:
        assert told == pytest.approx(true, abs=2e-3)
    elif not (math.isfinite(told) and abs(told - true) < 2e-3):
        assert any(u.op == "range" for u in exam.ledger.unaccounted)  # what could not be told is said


def test_the_account_that_stands_is_the_networks_own_where_float32_holds_it() -> None:
    torch.manual_seed(0)
    model = Deep(20, "linear")
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), Y), x)
    assert exam.ledger.log_gain == pytest.approx(math.log10(float(gradient.double().norm())), abs=1e-5)
    assert not any("float64" in note for note in exam.environment.notes)
