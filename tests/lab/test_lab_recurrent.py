"""The tasks and networks of the lab's experiments along time."""

import pytest
import torch

from fadeout.lab import attention_nets, recurrent_nets
from fadeout.lab.attention_runs import RIVALS
from fadeout.lab.recurrent_runs import CHRONO, GRU, IRNN, NETS, OPEN, RNN


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def test_the_adding_problem_asks_for_the_sum_of_the_two_marked_numbers():
    x, y = recurrent_nets.adding(5, 40, drawn(0))
    assert torch.equal((x[..., 0] * x[..., 1]).sum(1), y)
    assert torch.equal(x[..., 1].view(5, 2, 20).sum(-1), torch.ones(5, 2))


def test_the_copy_problem_shows_ten_symbols_blanks_and_a_sign():
    x, word = recurrent_nets.copying(5, 30, drawn(0))
    ids = x.argmax(-1)
    assert torch.equal(ids[:, :10], word)
    assert ids.shape == (5, 50)
    assert (ids == 9).sum(1).tolist() == [1] * 5
    assert int(ids[0, 39]) == 9
    assert not ids[:, 40:].any()
    assert not ids[:, 10:39].any()


def test_networks_rank_by_reach_at_the_start_as_their_gates_promise():
    """At the defaults a tanh RNN and a GRU reach nowhere, biases decide for an LSTM, an IRNN keeps all: THEORY A11."""
    batch, found = recurrent_nets.adding(8, 100, drawn(9)), {}
    for name in (RNN, IRNN, OPEN, CHRONO, GRU):
        torch.manual_seed(0)
        model = recurrent_nets.Reader(NETS[name][0](2, 100), 1)
        found[name] = recurrent_nets.reach(model, batch, recurrent_nets.squared)
    order = sorted(found, key=lambda name: -found[name].curve[-1])
    assert order[:3] == [IRNN, CHRONO, OPEN]
    assert found[RNN].curve[-1] < -15
    assert found[GRU].curve[-1] < -15
    assert found[IRNN].horizon == 100
    assert found[RNN].horizon < 8


def test_a_latch_loses_what_its_fixed_point_says():
    """tanh(1.25 h) = h at h = 0.7104; theory 1.25 (1 - h^2) = 0.6191."""
    assert recurrent_nets.held(1.25) == pytest.approx(0.6191, abs=2e-4)


def test_ranks_share_their_place_when_values_are_equal():
    assert recurrent_nets.ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert recurrent_nets.spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]) == pytest.approx(0.5)
    assert recurrent_nets.spearman([1.0, 1.0], [1.0, 2.0]) == 0


@pytest.mark.parametrize("kind", RIVALS.values(), ids=RIVALS)
def test_rivals_have_as_many_weights_as_the_transformer(kind):
    wanted = attention_nets.weights(attention_nets.Transformer(64))
    assert attention_nets.weights(attention_nets.rival(kind, 64)) == pytest.approx(wanted, rel=0.02)


def test_deep_norm_starts_as_its_paper_says():
    torch.manual_seed(0)
    model = attention_nets.deep_norm(8)
    assert model.blocks[0].alpha == pytest.approx(2)
    torch.manual_seed(0)
    plain = attention_nets.Digits(8, "post")
    for part, factor in (("query", 1.0), ("key", 1.0), ("value", 64**-0.25), ("out", 64**-0.25)):
        a, b = (getattr(net.blocks[3].attention, part).weight for net in (model, plain))
        assert torch.allclose(a, factor * b)


def test_a_causal_block_sees_nothing_ahead():
    model, ids = attention_nets.Transformer(16), torch.randint(0, 50, (2, 16))
    other = ids.clone()
    other[:, 10:] = 3
    assert torch.allclose(model(ids)[:, :10], model(other)[:, :10], atol=1e-5)
