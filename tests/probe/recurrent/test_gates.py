"""Horizons read off parameters: FRONTIER F4's numbers, and autograd through the real modules."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.probe.recurrent.gates import gate_horizons
from fadeout.probe.recurrent.through_time import time_profile

UNITS = 4096


def owner(name: str, **parameters: object) -> nn.Module:
    """A module known by its class name and parameters alone, as if its package were not installed."""
    module = type(name, (nn.Module,), {})()
    for key, value in parameters.items():
        setattr(module, key, nn.Parameter(value) if isinstance(value, torch.Tensor) else value)
    return module


def log_uniform_bias(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    dt = torch.exp(torch.rand(*shape, generator=draw) * math.log(100.0) + math.log(1e-3))
    return dt + torch.log(-torch.expm1(-dt))


def uniform(low: float, high: float) -> torch.Tensor:
    return torch.rand(UNITS, generator=torch.Generator().manual_seed(1)) * (high - low) + low


def linear(bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(1, len(bias))
    layer.bias = nn.Parameter(bias)
    return layer


def gla() -> nn.Module:
    bias = torch.randn(UNITS, generator=torch.Generator().manual_seed(0))
    return owner("GatedLinearAttention", gk_proj=nn.Sequential(nn.Linear(1, 1), linear(bias)), gate_logit_normalizer=16)


@pytest.mark.parametrize(
    ("module", "family", "pooled"),
    [
        (
            lambda: owner("Mamba2", A_log=uniform(1, 16).log(), dt_bias=log_uniform_bias(UNITS)),
            "Mamba-2",
            246,
        ),
        (
            lambda: owner("GatedDeltaNet", A_log=uniform(1, 16).log(), dt_bias=log_uniform_bias(UNITS)),
            "GatedDeltaNet",
            246,
        ),
        (
            lambda: owner(
                "Mamba",
                A_log=torch.arange(1, 17).float().log().expand(UNITS, -1).clone(),
                dt_proj=linear(log_uniform_bias(UNITS)),
            ),
            "Mamba",
            308,
        ),
        (lambda: owner("LRU", nu_log=(-0.5 * uniform(0, 1).log()).log()), "LRU", 106),
        (lambda: owner("LRU", nu_log=(-0.5 * uniform(0.9**2, 0.999**2).log()).log()), "LRU", 301),
        (
            lambda: owner(
                "S4DKernel",
                log_A_real=torch.full((UNITS, 1), 0.5).log(),
                log_dt=uniform(math.log(1e-3), math.log(0.1)),
            ),
            "S4D",
            2085,
        ),
        (lambda: owner("mLSTMLayer", fgate_preact=linear(torch.linspace(3, 6, UNITS))), "mLSTM", 482),
        (gla, "GLA", 136),
        (lambda: owner("RWKV6", time_decay=torch.linspace(-6, -1, UNITS)), "RWKV", 405),
        (lambda: owner("minGRU", to_hidden_and_gate=nn.Linear(8, 16, bias=False)), "minGRU", 3.32),
        (
            lambda: owner("MinGRUCell", linear_z=linear(-uniform(1, 999).log()), linear_h=nn.Linear(1, 1)),
            "minGRU",
            1548,
        ),
        (lambda: owner("minLSTM", to_hidden_and_gate=nn.Linear(8, 24, bias=False)), "minLSTM", 3.32),
    ],
)
def test_families_without_their_package_give_frontiers_table(module: object, family: str, pooled: float) -> None:
    (found,) = gate_horizons(nn.ModuleDict({"mixer": module()}))
    assert (found.path, found.family) == ("mixer", family)
    assert found.pooled == pytest.approx(pooled, rel=0.06)
    assert found.stuck == 0


def test_torch_layers_have_one_horizon_a_layer_and_direction() -> None:
    lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    with torch.no_grad():
        lstm.bias_ih_l1_reverse[4:8] = 3.0
        lstm.bias_hh_l1_reverse[4:8] = 1.0  # both are added
    found = gate_horizons(nn.Sequential(lstm, nn.GRU(4, 4, bias=False), nn.GRUCell(4, 4)))
    assert [f.part for f in found] == ["l0", "l0_reverse", "l1", "l1_reverse", "l0", ""]
    assert found[3].median == pytest.approx(math.log(10) / math.log1p(math.exp(-4.0)))
    assert found[4].slowest == pytest.approx(1 / math.log10(2))


def test_lstm_horizon_equals_the_measured_one_where_the_parameters_say_all() -> None:
    module = nn.LSTM(2, 6, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.bias_ih_l0[6:12] = torch.linspace(0, 4, 6)
    (said,) = gate_horizons(module)
    (seen,) = time_profile(
        module,
        torch.randn(300, 2, 2, dtype=torch.float64),
        state_gradient=(None, torch.ones(1, 2, 6, dtype=torch.float64)),
    )
    assert seen.horizon == pytest.approx(said.pooled, rel=1e-3)


def test_a_gate_that_bf16_killed_is_counted_as_stuck() -> None:
    a_log = torch.zeros(4)
    a_log[1] = -math.inf
    (found,) = gate_horizons(owner("Mamba2", A_log=a_log, dt_bias=torch.ones(4)))
    assert found.stuck == 1 and found.heads == 4 and math.isfinite(found.slowest)


def test_models_without_a_recurrence_have_none_and_meta_ones_are_refused() -> None:
    assert gate_horizons(nn.Sequential(nn.Linear(2, 2), nn.TransformerEncoderLayer(8, 2))) == ()
    with pytest.raises(FadeoutError, match="meta device"):
        gate_horizons(nn.LSTM(2, 2, device="meta"))


def qwen(heads: int = 32) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3NextConfig(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        linear_num_value_heads=heads,
        linear_num_key_heads=heads // 2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        layer_types=["linear_attention"] * 2,
        mlp_only_layers=[0, 1],
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    )
    torch.manual_seed(0)
    return transformers.Qwen3NextForCausalLM(config)


def bamba(heads: int = 32) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return transformers.BambaForCausalLM(
        transformers.BambaConfig(
            vocab_size=32,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_layer_indices=[],
            mamba_n_heads=heads,
            mamba_d_head=128 // heads,
            mamba_n_groups=1,
            mamba_d_state=16,
            mamba_expand=2,
            mamba_chunk_size=64,
            pad_token_id=0,
        )
    )


@pytest.mark.parametrize(
    ("build", "family", "median", "slowest"),
    [
        (qwen, "GatedDeltaNet", 0.2, 2.5),
        (bamba, "Mamba-2", 0.1, 1.8),
    ],
)
def test_shipped_models_forget_a_decade_in_a_fraction_of_a_token_and_log_uniform_steps_dont(
    build: object, family: str, median: float, slowest: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own, about kernels that are not installed
        model = build().eval()
    found = gate_horizons(model)
    assert [f.family for f in found] == [family] * 2
    for f in found:
        # A_log of Qwen3-Next is drawn, U[.01, 16]: its slowest head of 32 is anything from 1 to 20.
        assert f.median == pytest.approx(median, rel=0.4 if family == "GatedDeltaNet" else 0.1)
        assert f.slowest == pytest.approx(slowest, rel=0.05) if family == "Mamba-2" else f.slowest < 20
    cure(model)
    assert all(f.median > 5 and f.slowest > 150 for f in gate_horizons(model))


@pytest.mark.parametrize("build", [qwen, bamba])
def test_what_the_parameters_say_is_what_autograd_measures_through_the_whole_model(build: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(heads=8).eval()
    short, shipped = max(f.slowest for f in gate_horizons(model)), fade(model, lag=16)
    cure(model)
    assert short < 8 and shipped < -4
    assert min(f.slowest for f in gate_horizons(model)) > 50 and fade(model, lag=16) > shipped + 1.5


def cure(model: nn.Module) -> None:
    """Steps as the originals draw them, log-uniform in [1e-3, .1]."""
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "dt_bias"):
                module.dt_bias.copy_(log_uniform_bias(*module.dt_bias.shape))


def fade(model: nn.Module, lag: int) -> float:
    """Decades between the last token's embedding gradient and the one `lag` back."""
    torch.manual_seed(1)
    embedded = torch.randn(2, 48, 64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = model(inputs_embeds=embedded, use_cache=False).logits[:, -1]
    (gradient,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), embedded)
    norms = gradient.double().square().sum((0, 2)).sqrt()
    return float((norms[-1 - lag] / norms[-1]).log10())


def test_rg_lru_as_transformers_builds_it_agrees_with_autograd() -> None:
    pytest.importorskip("transformers")
    from transformers import RecurrentGemmaConfig, RecurrentGemmaModel

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = RecurrentGemmaModel(
            RecurrentGemmaConfig(
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                vocab_size=32,
                num_attention_heads=4,
                lru_width=32,
                block_types=["recurrent"],
            )
        )
    (found,) = gate_horizons(model)
    unit = model.get_submodule(found.path)
    x = torch.full((1, 12, 32), 1e-6, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = unit(x, torch.arange(1, 13).unsqueeze(0))
    (gradient,) = torch.autograd.grad(out[0, -1].sum(), x)
    keep = gradient[0, 4] / gradient[0, 5]  # a of each unit
    tokens = math.log(10) / -keep.double().log()
    assert found.median == pytest.approx(float(tokens.quantile(0.5)), rel=1e-3)
    assert found.slowest == pytest.approx(float(tokens.max()), rel=1e-2)


def test_mamba_as_transformers_builds_it_counts_every_state_of_every_channel() -> None:
    pytest.importorskip("transformers")
    from transformers import MambaConfig, MambaModel

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MambaModel(MambaConfig(hidden_size=16, state_size=4, num_hidden_layers=1, vocab_size=32))
    (found,) = gate_horizons(model)
    mixer = model.get_submodule(found.path)
    dt = F.softplus(mixer.dt_proj.bias.double())
    wanted = math.log(10) / (mixer.A_log.double().exp() * dt.unsqueeze(1))
    assert found.heads == 32 * 4
    assert found.slowest == pytest.approx(float(wanted.detach().max()), rel=1e-6)
