"""What the benchmarks of time and depth say at the start, where nothing is trained yet."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

import fadeout

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))  # scripts, no package

import depth
import sequences


def held_out():
    return depth.batch(torch.Generator().manual_seed(9), held_out=True)


def test_shares_by_quarter_of_depth_are_those_of_the_published_table():
    """Over 16 draws the quarters scatter by 4, 7, 10 and 11 % and N by 4 %; the published row is one, and low."""
    drawn = [depth.layer_shares(depth.seeded(16, seed), held_out()) for seed in range(4)]
    mean = [sum(row) / len(row) for row in zip(*(depth.quarters(shares) for shares in drawn), strict=True)]
    assert mean == pytest.approx(depth.PUBLISHED[16].start, rel=0.25)
    assert sum(depth.effective(shares) for shares in drawn) / 4 == pytest.approx(depth.PUBLISHED[16].n_start, rel=0.15)
    assert sum(sum(shares) for shares in drawn) / 4 == pytest.approx(1.13 * math.log(16), rel=0.1)


def test_the_share_of_a_whole_layer_is_what_autograd_says_of_the_stream():
    model, (x, y) = depth.seeded(8), held_out()
    stream = [model.symbol(x) + model.place.weight[: x.shape[1]]]
    for layer in model.layers:
        stream.append(layer(stream[-1]))
    gradients = torch.autograd.grad(depth.nats(model.head(model.norm(stream[-1])), y), stream)
    expected = [float(((a - b) * a).sum() / a.square().sum()) for a, b in itertools.pairwise(gradients)]
    assert depth.layer_shares(model, (x, y)) == pytest.approx(expected, abs=1e-5)


def test_a_layer_as_it_is_written_counts_as_two_blocks():
    exam = fadeout.examine(depth.seeded(8), held_out(), loss=depth.nats)
    assert exam.verdict == "flows"
    assert [block.path for block in exam.effective_blocks.blocks] == [f"layers.{n}" for n in range(8) for _ in range(2)]


def test_networks_rank_by_reach_at_the_start_as_their_gates_promise():
    """At the defaults a tanh RNN and a GRU reach nowhere, biases decide for an LSTM, an IRNN keeps all: THEORY A11."""
    batch = sequences.adding(8, 100, torch.Generator().manual_seed(9))
    found = {
        arm.name: sequences.reach(sequences.build(arm, 0, 2, 1, 100), batch, sequences.squared, within="encoder")
        for arm in sequences.ADDING
    }
    order = sorted(found, key=lambda name: -found[name].curve[-1])
    assert order[:4] == ["IRNN", "LSTM, chrono", "transformer, 2 layers", "LSTM, forget bias 1"]
    assert found["tanh RNN"].curve[-1] < -15 and found["GRU"].curve[-1] < -15
    assert found["IRNN"].horizon == math.inf and found["tanh RNN"].horizon < 8


def test_ranks_share_their_place_when_values_are_equal():
    assert sequences.ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert sequences.spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]) == pytest.approx(0.5)
    assert math.isnan(sequences.spearman([1.0, 1.0], [1.0, 2.0]))


def test_the_tasks_are_generated_as_in_their_papers():
    x, y = sequences.adding(5, 40, torch.Generator().manual_seed(0))
    assert torch.equal((x[..., 0] * x[..., 1]).sum(1), y)
    assert torch.equal(x[..., 1].view(5, 2, 20).sum(-1), torch.ones(5, 2))
    x, word = sequences.copying(5, 30, torch.Generator().manual_seed(0))
    ids = x.argmax(-1)
    assert torch.equal(ids[:, :10], word)
    assert ids.shape == (5, 50) and (ids == 9).sum(1).tolist() == [1] * 5 and int(ids[0, 39]) == 9
    assert not ids[:, 40:].any() and not ids[:, 10:39].any()
