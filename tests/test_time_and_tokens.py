"""Time and tokens in an exam: profiles of recurrent layers, horizons of gates, reach, live rows."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout

transformers = pytest.importorskip("transformers")


class Classifier(nn.Module):
    """Reads the last step only."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.rnn = kind(8, 24, batch_first=True, **options)
        self.out = nn.Linear(24 * (2 if options.get("bidirectional") else 1), 5)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


def sequences(steps=40):
    return torch.randn(6, steps, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5


def seeded(make):
    torch.manual_seed(0)
    return make()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_exam_says_how_far_it_remembers(kind):
    exam = fadeout.examine(seeded(lambda: Classifier(kind)), sequences(), loss=F.cross_entropy)
    (row,) = exam.time
    assert (row.path, row.steps, row.source) == ("rnn.l0", 40, "loss")
    assert 1 < row.horizon < 12
    assert f"remembers {row.horizon:.0f} of 40 steps" in exam.sentence
    assert row.log_gain[0] == 0.0
    assert all(sum(shares) == pytest.approx(1.0, abs=1e-4) for shares in zip(*(s for _, s in row.paths), strict=True))
    assert exam.verdict == "flows"  # vanishing through time alone is no verdict


def test_the_horizon_is_that_of_gradients_asked_for_step_by_step():
    model = seeded(Classifier)
    x, y = sequences(20)
    row = fadeout.examine(model, (x, y), loss=F.cross_entropy).time[0]
    cell = nn.LSTMCell(8, 24)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in model.rnn.state_dict().items()})
    h, c = torch.zeros(6, 24), torch.zeros(6, 24)
    states = []
    for t in range(20):
        h, c = cell(x[:, t], (h, c))
        states.append((h, c))
    loss = F.cross_entropy(model.out(h), y)
    norms = []
    for pair in reversed(states):
        found = torch.autograd.grad(loss, pair, retain_graph=True, allow_unused=True)
        norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in found if g is not None)))
    expected = [math.log10(n / norms[1]) for n in norms[1:]]
    measured = [v - row.log_gain[1] for v in row.log_gain[1:]]
    assert measured == pytest.approx(expected, abs=1e-4)


def test_dropout_packed_sequences_and_unused_outputs_leave_no_trace():
    model = seeded(lambda: Classifier(num_layers=2, dropout=0.3)).train()
    x, y = sequences()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    exam = fadeout.examine(model, (x, y), loss=F.cross_entropy)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [row.path for row in exam.time] == ["rnn.l0", "rnn.l1"]

    class Packed(Classifier):
        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([40, 33, 20, 9, 3, 1]), batch_first=True)
            _, (h, _) = self.rnn(packed)
            return self.out(h[-1])

    packed = fadeout.examine(seeded(Packed), (x, y), loss=F.cross_entropy)
    assert packed.time[0].steps == 40

    class Unused(Classifier):
        def forward(self, x):
            self.rnn(x)
            return self.out(x.mean(1).repeat(1, 3))

    unused = fadeout.examine(seeded(Unused), (x, y), loss=F.cross_entropy)
    assert unused.time[0].source in ("noise", "none")


def test_nan_in_the_middle_of_time_is_named_with_its_step():
    x, y = sequences(20)
    x[2, 7] = math.nan
    exam = fadeout.examine(seeded(Classifier), (x, y), loss=F.cross_entropy)
    assert exam.verdict == "not_finite" and exam.time == ()
    assert any("not finite at step 7 of 20 (1 of 6 sequences)" in note for note in exam.environment.notes)


def test_a_sequence_of_no_steps_is_the_models_own_error():
    with pytest.raises(fadeout.ModelError, match="in 'rnn'"):
        fadeout.examine(Classifier(), (torch.randn(6, 0, 8), torch.arange(6) % 5), loss=F.cross_entropy)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2, "dropout": 0.2}, {"proj_size": 6}])
def test_the_jacobian_of_the_last_step_stands_beside_the_radius_of_its_weight(options):
    class Net(Classifier):
        def __init__(self):
            super().__init__(**options)
            self.out = nn.LazyLinear(5)

    exam = fadeout.examine(seeded(Net), sequences(), loss=F.cross_entropy)
    for row in exam.time:
        assert row.spectrum.singular[0] >= row.spectrum.singular[-1] > 0
        assert 0 <= row.spectrum.step < 40
        assert math.isnan(row.spectrum.bound)  # gated
        assert math.isnan(row.spectrum.spectral_radius) == ("proj_size" in options)


def test_pascanus_bound_holds_for_a_plain_recurrent_layer():
    row = fadeout.examine(seeded(lambda: Classifier(nn.RNN)), sequences(), loss=F.cross_entropy).time[0]
    assert row.spectrum.singular[0] <= row.spectrum.bound + 1e-6
    assert row.spectrum.spectral_radius <= row.spectrum.bound + 1e-6


def causes(kind, change):
    model = seeded(lambda: Classifier(kind))
    with torch.no_grad():
        change(model.rnn)
    return fadeout.examine(model, sequences(), loss=F.cross_entropy).time[0].cause


def test_the_cause_of_a_short_memory_is_named():
    assert causes(nn.RNN, lambda r: r.weight_hh_l0.mul_(0.1)) == "recurrent weight"
    assert causes(nn.RNN, lambda r: (r.weight_ih_l0.mul_(60.0), r.weight_hh_l0.copy_(torch.eye(24) * 0.99))) == "slope"
    assert causes(nn.LSTM, lambda r: r.bias_hh_l0[24:48].fill_(-3.0)) == "forget gates closed"
    assert causes(nn.LSTM, lambda r: (r.bias_hh_l0[24:48].fill_(30.0), r.weight_hh_l0.zero_())) == ""


def test_a_sequence_of_one_step_and_a_loop_over_a_cell_are_no_trouble():
    assert fadeout.examine(Classifier(), sequences(1), loss=F.cross_entropy).time[0].steps == 1

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTMCell(8, 24), nn.Linear(24, 5)

        def forward(self, x):
            h = c = x.new_zeros(len(x), 24)
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
            return self.out(h)

    exam = fadeout.examine(Loop(), sequences(12), loss=F.cross_entropy)
    # seen through the trace, use by use; the first state is a constant
    assert sum(w.path == "cell" for w in exam.ledger.weights) == 2 * 12 - 1


@pytest.mark.parametrize(("name", "median"), [("qwen3_next", (0.1, 0.4)), ("bamba", (0.05, 0.2))])
def test_gates_that_forget_within_a_token_are_said(name, median):
    """transformers sets dt_bias = 1 where the originals draw dt log-uniform: FRONTIER F4."""
    if name == "qwen3_next":
        config = transformers.Qwen3NextConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
            intermediate_size=64, vocab_size=60, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
            shared_expert_intermediate_size=32, linear_num_key_heads=8, linear_num_value_heads=32,
            linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention", "full_attention"],
        )  # fmt: skip
        build = transformers.Qwen3NextForCausalLM
    else:
        config = transformers.BambaConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
            vocab_size=60, mamba_n_heads=32, mamba_d_head=4, mamba_expand=2, mamba_d_state=8, mamba_n_groups=1,
            attn_layer_indices=[1], mamba_chunk_size=16,
        )  # fmt: skip
        build = transformers.BambaForCausalLM
    ids = torch.randint(1, 60, (2, 12), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = seeded(lambda: build(config))
        exam = fadeout.examine(model, {"input_ids": ids, "labels": ids})
        assert "within a token" in exam.sentence
        (row,) = [r for r in exam.time if r.gate_horizon is not None]
        assert median[0] < row.gate_horizon.median < median[1]
        for module in model.modules():  # what the original papers draw instead
            if hasattr(module, "dt_bias"):
                dt = torch.exp(torch.empty_like(module.dt_bias).uniform_(math.log(1e-3), math.log(0.1)))
                with torch.no_grad():
                    module.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        cured = fadeout.examine(model, {"input_ids": ids, "labels": ids})
    assert "within a token" not in cured.sentence


class OneHead(nn.Module):
    """FRONTIER F3's attention: logits of standard deviation `scale`."""

    def __init__(self, scale, *, fused):
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(64, 16) / 8) for _ in range(3))
        self.scale, self.fused = scale, fused

    def forward(self, x):
        q, k, v = self.scale * (x @ self.q), x @ self.k, x @ self.v
        if self.fused:
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return (q @ k.mT / 4).softmax(-1) @ v


@pytest.mark.parametrize("fused", [False, True], ids=["softmax", "fused"])
@pytest.mark.parametrize(("scale", "dead"), [(1, 0.0), (3, 0.0), (10, 0.08), (30, 0.45), (100, 0.81), (300, 0.92)])
def test_live_rows_are_those_of_the_published_table(scale, dead, fused):
    torch.manual_seed(0)
    model, x, u = OneHead(scale, fused=fused), torch.randn(16, 64, 64), torch.randn(16, 64, 16)
    (row,) = fadeout.examine(model, x, loss=lambda out: (out * u).sum()).tokens
    assert row.live_rows == pytest.approx(1 - dead, abs=0.04)


def test_a_causal_model_reaches_back_and_never_ahead():
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=4, vocab_size=60, bos_token_id=0, eos_token_id=0, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = seeded(lambda: transformers.GPT2LMHeadModel(config))
        ids = torch.randint(0, 60, (3, 16), generator=torch.Generator().manual_seed(0))
        exam = fadeout.examine(model, {"input_ids": ids, "labels": ids}, reach=4)
    reach = next(t for t in exam.tokens if t.positions)
    assert reach.positions == (3, 7, 11, 15)
    for i, row in zip(reach.positions, reach.reach, strict=True):
        assert all(v == -math.inf for v in row[i + 1 :])
        assert all(v > -math.inf for v in row[: i + 1])
    assert reach.distance_curve[0] == 0.0
    assert [t.path for t in exam.tokens if not t.positions] == ["transformer.h.0.attn", "transformer.h.1.attn"]


def test_the_reach_of_a_convolution_is_its_receptive_field_and_agrees_with_autograd():
    class Conv(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(4, 8, 3, padding=1), nn.Conv1d(8, 4, 3, padding=1)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x.transpose(1, 2)))).transpose(1, 2)

    model, x = seeded(Conv), torch.randn(2, 12, 4)
    reach = fadeout.examine(model, x, reach=12).tokens[0]
    leaf = x.clone().requires_grad_()
    noise = torch.randn(4, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((model(leaf)[:, 5] * noise).sum(), leaf)
    for j in range(12):
        if abs(j - 5) > 2:
            assert reach.reach[5][j] == -math.inf
        else:
            assert reach.reach[5][j] == pytest.approx(math.log10(float(gradient[:, j].norm())), abs=1e-5)


def test_a_reach_that_can_not_be_mapped_is_an_error_that_teaches():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    with pytest.raises(fadeout.FadeoutError, match="position axis"):
        fadeout.examine(model, torch.randn(4, 8), reach=3)
    with pytest.raises(ValueError, match="reach="):
        fadeout.examine(model, torch.randn(4, 8), reach=-1)


def test_attention_without_a_skip_collapses_and_one_with_a_skip_does_not():
    class Mixing(nn.Module):
        def __init__(self, *, skip):
            super().__init__()
            self.q, self.k, self.v = (nn.ModuleList(nn.Linear(32, 32) for _ in range(6)) for _ in range(3))
            self.skip, self.out = skip, nn.Linear(32, 4)

        def forward(self, x):
            for q, k, v in zip(self.q, self.k, self.v, strict=True):
                mixed = F.scaled_dot_product_attention(q(x)[:, None], k(x)[:, None], v(x)[:, None])[:, 0]
                x = (x if self.skip else torch.zeros_like(x) * x) + mixed
            return self.out(x)

    x = torch.randn(4, 16, 32, generator=torch.Generator().manual_seed(0))
    without = fadeout.examine(seeded(lambda: Mixing(skip=False)), x).tokens
    with_skip = fadeout.examine(seeded(lambda: Mixing(skip=True)), x).tokens
    assert without[-1].rank_collapse < 1e-3 < 0.5 < with_skip[-1].rank_collapse


def test_every_attention_stands_with_its_heads_and_the_share_of_its_branch():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(30, 16), nn.Linear(16, 30)
            self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

        def forward(self, x):
            return self.out(self.encoder(self.embed(x))).transpose(1, 2)

    tokens = torch.randint(0, 30, (4, 12), generator=torch.Generator().manual_seed(0))
    exam = fadeout.examine(seeded(Tagger), (tokens, tokens), loss=F.cross_entropy)
    shares = {block.path: [] for block in exam.effective_blocks.blocks}
    for block in exam.effective_blocks.blocks:
        shares[block.path].append((block.share, block.influence))
    assert len(exam.tokens) == 3
    for row in exam.tokens:
        assert len(row.live_heads) == 4
        assert sum(row.live_heads) / 4 == pytest.approx(row.live_rows, abs=1e-6)
        assert (row.branch_share, row.influence) == shares[row.path.removesuffix(".self_attn")][0]
