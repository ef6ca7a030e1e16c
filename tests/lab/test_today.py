"""The lab's experiment on today's networks, at the start, where nothing is trained yet."""

import itertools
import math
import statistics

import pytest
import torch
import torch.nn.functional as F

import fadeout
from fadeout import theory
from fadeout.lab import code, today
from fadeout.lab.today_attention import live_in_theory
from fadeout.lab.today_depth import quarter_of, shares
from fadeout.lab.today_gates import Mamba, decays
from fadeout.lab.today_streams import doubly_stochastic
from fadeout.lab.today_text import Reader, batch, nats

# an earlier trial, 16 blocks, one seed: mean share in each quarter of depth, and effective blocks
START, N_START = (0.47, 0.16, 0.09, 0.06), 8.1


def held_out():
    return batch(torch.Generator().manual_seed(9), held_out=True)


def seeded(depth, seed=0, **options):
    torch.manual_seed(seed)
    return Reader(depth, **options)


def test_shares_by_quarter_of_depth_are_those_of_an_earlier_trial():
    """Over 16 draws the quarters scatter by 4, 7, 10 and 11 % and N by 4 %; the trial's row is one, and low."""
    drawn = [shares(fadeout.examine(seeded(16, n), held_out(), loss=nats), 16) for n in range(4)]
    mean = [statistics.fmean(statistics.fmean(row[i : i + 4]) for row in drawn) for i in range(0, 16, 4)]
    assert mean == pytest.approx(START, rel=0.25)
    assert statistics.fmean(map(theory.effective_blocks, drawn)) == pytest.approx(N_START, rel=0.15)
    assert statistics.fmean(map(sum, drawn)) == pytest.approx(1.13 * math.log(16), rel=0.1)


def test_the_share_of_a_block_is_what_autograd_says_of_the_stream():
    model, (x, y) = seeded(8), held_out()
    stream = [model.symbol(x) + model.place.weight[: x.shape[1]]]
    for block in model.blocks:
        stream.append(block(stream[-1]))
    gradients = torch.autograd.grad(nats(model.head(model.norm(stream[-1])), y), stream)
    expected = [float(((a - b) * a).sum() / a.square().sum()) for a, b in itertools.pairwise(gradients)]
    assert shares(fadeout.examine(model, (x, y), loss=nats), 8) == pytest.approx(expected, abs=1e-5)


def test_a_block_computes_what_the_usual_two_additions_do():
    model, (x, _) = seeded(1), held_out()
    branches, stream = model.blocks[0].branches, model.symbol(x)
    usual = stream + branches.attend(stream)
    assert torch.allclose(model.blocks[0](stream), usual + branches.think(usual), atol=1e-5)


def test_quarters_leave_the_first_block_and_cover_the_others():
    assert [list(quarter_of(16, n)) for n in (1, 2, 3, 4)] == [
        [1, 2, 3, 4],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
        [12, 13, 14, 15],
    ]


def test_qk_norm_makes_the_scores_the_same_whatever_the_weights():
    x, _ = held_out()
    small, large = (seeded(1, qk_norm=True, sharp=s) for s in (1.0, 1000.0))
    assert torch.allclose(small(x), large(x), atol=1e-4)
    assert live_in_theory(100.0) == pytest.approx(0.2, rel=0.02)


def test_sinkhorn_makes_all_rows_and_columns_sum_to_one():
    mixing = doubly_stochastic(torch.randn(5, 4, 4))
    assert torch.allclose(mixing.sum(-1), torch.ones(5, 4)) and torch.allclose(
        mixing.sum(-2), torch.ones(5, 4), atol=1e-3
    )


def test_the_gated_layer_computes_its_recurrence():
    torch.manual_seed(0)
    layer, x = Mamba(slow=True).double(), torch.randn(2, 9, 32, dtype=torch.float64)
    h = layer.norm(x)
    q, k, v = (part(h).unflatten(-1, (8, -1)) for part in (layer.query, layer.key, layer.value))
    dt = F.softplus(layer.step(h) + layer.dt_bias)
    state, out = torch.zeros(2, 8, 4, 4, dtype=torch.float64), []
    for t in range(9):
        kept = torch.exp(-layer.A_log.exp() * dt[:, t])[..., None, None]
        state = kept * state + dt[:, t, :, None, None] * k[:, t, :, :, None] * v[:, t, :, None, :]
        out.append((q[:, t, :, :, None] * state).sum(-2).flatten(1))
    assert torch.allclose(layer(x), x + layer.out(layer.last(torch.stack(out, 1))), atol=1e-9)
    assert torch.allclose(decays(torch.full((3,), -1.0))[2], torch.tensor([-2.0, -1.0, 0.0]).exp())


def test_no_two_parts_share_an_arm_and_every_file_counts_for_the_version():
    assert len(today.OF) == sum(len(part.arms) for part in today.PARTS)
    used = code._used_by(today.EXPERIMENT)
    assert sum(b"Python's own help" in text for text in used) == 1  # imported by two parts, not by today itself
