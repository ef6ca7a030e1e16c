"""One step's Jacobian against autograd's own, and the iteration against the matrix."""

import pytest
import torch
from torch import nn

from fadeout.probe.recurrent import jacobian
from fadeout.probe.recurrent.jacobian import step_jacobian


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "projected", "gru"])
@pytest.mark.parametrize("exact", [512, 0])
def test_singular_values_equal_those_of_autograds_matrix(
    kind: str, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jacobian, "EXACT_UNITS", exact)
    monkeypatch.setattr(jacobian, "TOLERANCE", 1e-12)
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    module = {
        "tanh": lambda: nn.RNN(3, 8, **options),
        "relu": lambda: nn.RNN(3, 8, nonlinearity="relu", **options),
        "lstm": lambda: nn.LSTM(3, 8, **options),
        "projected": lambda: nn.LSTM(3, 8, proj_size=5, **options),
        "gru": lambda: nn.GRU(3, 8, **options),
    }[kind]()
    lstm = isinstance(module, nn.LSTM)
    x = torch.randn(6, 1, 3, dtype=torch.float64)
    _, state = module(x[:-1])
    flat = torch.cat([s.flatten() for s in state]) if lstm else state.flatten()
    wide = module.proj_size or 8

    def advance(flat: torch.Tensor) -> torch.Tensor:
        hx = (flat[:wide].view(1, 1, -1), flat[wide:].view(1, 1, -1)) if lstm else flat.view(1, 1, -1)
        after = module(x[-1:], hx)[1]
        return torch.cat([s.flatten() for s in after]) if lstm else after.flatten()

    wanted = torch.linalg.svdvals(torch.autograd.functional.jacobian(advance, flat.detach()))
    (found,) = step_jacobian(module, x)
    assert found.step == 5
    assert found.singular == pytest.approx(wanted[:3].tolist(), rel=1e-4)


def test_largest_singular_value_stays_under_pascanus_bound() -> None:
    torch.manual_seed(0)
    module = nn.RNN(3, 10, num_layers=2, bidirectional=True)
    found = step_jacobian(module, torch.randn(9, 4, 3))
    assert len(found) == 4
    for record in found:
        assert record.bound is not None
        assert record.singular[0] <= record.largest <= record.bound * (1 + 1e-5)
        assert record.spectral_radius <= record.bound
    assert found[1].direction == "reverse" and module.training


def test_an_orthogonal_weight_times_s_has_all_values_s() -> None:
    module = nn.RNN(2, 6, nonlinearity="relu")
    with torch.no_grad():
        nn.init.orthogonal_(module.weight_hh_l0, gain=0.5)
        module.bias_ih_l0.fill_(10.0)
    (found,) = step_jacobian(module, torch.zeros(3, 2, 2), count=6)
    assert found.singular == pytest.approx([0.5] * 6, rel=1e-5)
    assert found.bound == pytest.approx(0.5, rel=1e-5) and found.spectral_radius == pytest.approx(0.5, rel=1e-5)


def test_a_step_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="at=4 is no step of 4"):
        step_jacobian(nn.GRU(3, 4), torch.zeros(4, 1, 3), at=4)
