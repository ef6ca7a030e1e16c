"""Batch norm over a few values: the verdict speaks of the network only where larger batches would say the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout


def stack(depth, width=32):
    blocks = (m for _ in range(depth) for m in (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()))
    return nn.Sequential(nn.Linear(8, width), *blocks, nn.Linear(width, 4))


def examined(depth, rows, seed):
    torch.manual_seed(seed)
    net = stack(depth)
    return fadeout.examine(net, (torch.randn(rows, 8), torch.arange(rows) % 4), loss=F.cross_entropy)


@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_a_larger_batch_leaves_in_peace_is_no_alarm_on_few_values(rows, seed):
    assert examined(24, 64, seed).verdict == "flows"
    exam = examined(24, rows, seed)
    assert exam.verdict == "flows", exam.sentence
    said = [f.claim for f in exam.findings if f.code in ("FO101", "FO102")]
    assert all(f"on this batch: batch norm takes its statistics from {rows} values" in claim for claim in said)
    if rows == 4:
        assert said


@pytest.mark.parametrize("rows", [4, 6, 64])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_explodes_at_any_batch_is_an_alarm_on_few_values_too(rows, seed):
    exam = examined(100, rows, seed)
    assert exam.verdict == "exploding", exam.sentence


@pytest.mark.parametrize("rows", [3, 4, 6, 8])
def test_what_chance_adds_is_the_difference_to_a_large_batch(rows):
    """Within half: the gradient does not weigh channels alike."""

    def decades(rows):
        return [examined(24, rows, seed).decades for seed in range(4)]

    def excess(seed):
        torch.manual_seed(seed)
        reading = fadeout.read(stack(24), (torch.randn(rows, 8), torch.arange(rows) % 4), loss=F.cross_entropy)
        assert {norm.values for norm in reading.few_values} == {rows}
        return sum(norm.excess for norm in reading.few_values)

    added = (sum(decades(rows)) - sum(decades(64))) / 4
    estimate = sum(excess(seed) for seed in range(4)) / 4
    assert 0.5 * added < estimate < 2 * added


def test_large_batches_and_running_statistics_are_not_few_values():
    torch.manual_seed(0)
    net = stack(3)
    batch = (torch.randn(64, 8), torch.arange(64) % 4)
    assert not fadeout.read(net, batch, loss=F.cross_entropy).few_values
    few = (batch[0][:4], batch[1][:4])
    net(batch[0])
    assert not fadeout.read(net.eval(), few, loss=F.cross_entropy).few_values
