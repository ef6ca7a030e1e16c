"""What the benchmark of sequences says at the start, where nothing is trained yet."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))  # scripts, no package

import sequences


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
