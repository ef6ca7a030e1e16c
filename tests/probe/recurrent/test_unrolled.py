"""The twin is the layer: output, states and all weight gradients, in every combination."""

import pytest
import torch
from recurrent_cases import BATCH, STEPS, UNITS, Case, cases, data, loss, parts
from torch import nn

from fadeout.probe.recurrent.unrolled import Step, unroll


# torch's own word about which implementation runs.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("case", cases(), ids=str)
def test_twin_equals_the_fused_layer_with_all_weight_gradients(case: Case) -> None:
    module = case.module(torch.float32)
    x, hx = case.call(module, torch.float32)
    found = []
    for run in (module, lambda x, hx: unroll(module, x, hx)):
        torch.manual_seed(1)  # dropout draws alike
        output, state = run(x, hx)
        total, _, _ = loss(output, state)
        found.append([data(output), *parts(state), *torch.autograd.grad(total, list(module.parameters()))])
    assert len(found[0]) == len(found[1])
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_twin_keeps_packing_and_the_order_of_the_caller() -> None:
    case = Case(kind="gru", layers=1, bidirectional=True, layout="unsorted", states=True)
    module = case.module()
    x, hx = case.call(module)
    ours, theirs = unroll(module, x, hx)[0], module(x, hx)[0]
    assert torch.equal(ours.batch_sizes, theirs.batch_sizes)
    assert torch.equal(ours.unsorted_indices, theirs.unsorted_indices)


def test_watch_sees_every_step_with_states_and_gates() -> None:
    module = nn.LSTM(3, UNITS, num_layers=2, bidirectional=True)
    seen: list[Step] = []
    output, (h, c) = unroll(module, torch.randn(STEPS, BATCH, 3), watch=seen.append)
    assert len(seen) == 2 * 2 * STEPS
    top = [s for s in seen if s.layer == 1 and s.direction == 0]
    assert torch.equal(torch.stack([s.h for s in top]), output[..., :UNITS])
    assert torch.equal(top[-1].c, c[2]) and torch.equal(top[-1].h, h[2])
    i, f, g, o = top[3].gates
    assert torch.allclose(top[3].c, f * top[2].c + i * g)
    assert torch.allclose(top[3].h, o * torch.tanh(top[3].c))


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (0, 3)])
def test_empty_sequences_are_refused_with_what_to_do(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^unroll: the input has no (steps|sequences).*leave empty"):
        unroll(nn.GRU(3, 4), torch.zeros(shape))


@pytest.mark.parametrize(
    ("module", "x", "hx", "error", "words"),
    [
        (nn.Linear(3, 3), torch.zeros(2, 1, 3), None, TypeError, "needs an nn.RNN"),
        (nn.GRU(3, 4), torch.zeros(2, 1, 5), None, ValueError, "5 features, the layer takes 3"),
        (nn.GRU(3, 4), torch.zeros(3), None, ValueError, "1 dimensions"),
        (nn.LSTM(3, 4), torch.zeros(2, 1, 3), torch.zeros(1, 1, 4), TypeError, "takes \\(h, c\\)"),
        (nn.GRU(3, 4), torch.zeros(2, 1, 3), torch.zeros(1, 2, 4), ValueError, "initial state has shape"),
    ],
)
def test_wrong_calls_are_named(module: nn.Module, x: object, hx: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        unroll(module, x, hx)
