"""The families of gated and linear recurrences: how to recognise each, and how it keeps its past.

One row of `FAMILIES` a family, known by its modules' names and parameters alone (its package need
not be installed), with -ln a of the factor a by which its state decays a token.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rates = Iterator[tuple[str, Tensor]]  # part, -ln a of its heads or units


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one family keeps its past.

    Attributes:
        fits: Whether a module is the owner of such a decay.
        rates: -ln a a token, at zero input to the gate, for each part of the module.
    """

    name: str
    fits: Callable[[nn.Module], bool]
    rates: Callable[[nn.Module], Rates]
    formula: str
    source: str


def _own(module: nn.Module, name: str) -> Tensor | None:
    """A parameter or buffer by its name or dotted name; None if there is none."""
    value: object = module
    for piece in name.split("."):
        if isinstance(value, (nn.Sequential, nn.ModuleList)) and piece.lstrip("-").isdigit():
            value = value[int(piece)] if len(value) else None
        else:
            value = getattr(value, piece, None)
    return value if isinstance(value, Tensor) else None


def _get(module: nn.Module, name: str) -> Tensor:
    value = _own(module, name)
    assert value is not None, name
    return value.detach().double()


def _has(*names: str) -> Callable[[nn.Module], bool]:
    """Recognises a module that has all of these parameters or buffers."""
    return lambda module: all(_own(module, name) is not None for name in names)


def _called(module: nn.Module, pattern: str) -> bool:
    return re.search(pattern, type(module).__name__, re.IGNORECASE) is not None


def _bias(module: nn.Module, name: str) -> Tensor:
    """Bias of a linear child, its last layer if it is a sequence; zeros if it has none."""
    child = getattr(module, name)
    child = child[-1] if isinstance(child, nn.Sequential) else child
    bias, weight = getattr(child, "bias", None), getattr(child, "weight", None)
    if isinstance(bias, Tensor):
        return bias.detach().double()
    assert isinstance(weight, Tensor)
    return torch.zeros(weight.shape[0], dtype=torch.float64, device=weight.device)


def _linear(module: nn.Module, *names: str) -> bool:
    """Whether the module has linear children (or sequences that end in one) of all these names."""
    for name in names:
        child = getattr(module, name, None)
        child = child[-1] if isinstance(child, nn.Sequential) and len(child) else child
        if not isinstance(child, nn.Module) or not isinstance(getattr(child, "weight", None), Tensor):
            return False
    return True


def _torch_rates(gate: int) -> Callable[[nn.Module], Rates]:
    """Of the sigmoid gate in rows gate H to (gate + 1) H of torch's biases, both of which are added."""

    def rates(module: nn.Module) -> Rates:
        wide = module.hidden_size
        assert isinstance(wide, int)
        for name, weight in module.named_parameters(recurse=False):
            if not name.startswith("weight_hh"):
                continue
            suffix = name.removeprefix("weight_hh")
            bias = torch.zeros(wide, dtype=torch.float64, device=weight.device)
            for kind in ("bias_ih", "bias_hh"):
                part = _own(module, kind + suffix)
                if part is not None:
                    bias = bias + part[gate * wide : (gate + 1) * wide].double()
            yield suffix.removeprefix("_"), F.softplus(-bias)

    return rates


def _head_rates(module: nn.Module) -> Rates:
    """A dt: A = exp(A_log) a head, dt = softplus(dt_bias), clamped where the module does."""
    dt = F.softplus(_get(module, "dt_bias"))
    limit = getattr(module, "time_step_limit", getattr(module, "dt_limit", None))
    if isinstance(limit, (tuple, list)) and len(limit) == 2:
        dt = dt.clamp(float(limit[0]), float(limit[1]))
    yield "", _get(module, "A_log").exp().view(-1) * dt.view(-1)


def _channel_rates(module: nn.Module) -> Rates:
    """As a head's, but dt_bias a channel; some hold the gate above a lower bound (negative, in ln a)."""
    a = _get(module, "A_log").exp().view(-1, 1)
    dt_bias = _get(module, "dt_bias").view(len(a), -1)
    bound = getattr(module, "safe_gate_lower_bound", None)
    if getattr(module, "safe_gate", False):
        bound = getattr(module, "lower_bound", None)
    yield "", a * F.softplus(dt_bias) if bound is None else -float(bound) * torch.sigmoid(a * dt_bias)


def _state_rates(module: nn.Module) -> Rates:
    """A dt: A (D, N) a state, dt = softplus of the step projection's bias, (D,)."""
    a = _get(module, "A_log").exp()
    own = _own(module, "dt_proj_bias")
    dt = F.softplus(own.detach().double() if own is not None else _bias(module, "dt_proj"))
    yield "", a * dt.view(*a.shape[:-1], 1)


def _xlstm_rates(module: nn.Module) -> Rates:
    fused = hasattr(module, "ifgate_preact")
    name = "ifgate_preact" if fused else "fgate_preact" if hasattr(module, "fgate_preact") else "fgate"
    bias = _bias(module, name)
    bias = bias[len(bias) // 2 :] if fused else bias
    cap = getattr(getattr(module, "config", None), "gate_soft_cap", None) if name != "fgate" else None
    yield "", F.softplus(-(bias if cap is None else cap * torch.tanh(bias / cap)))


def _min_gru_rates(module: nn.Module) -> Rates:
    if _linear(module, "to_hidden_and_gate"):
        bias = _bias(module, "to_hidden_and_gate").chunk(2)[1]
    else:
        bias = _bias(module, next(n for n in ("linear_z", "to_z", "z_proj", "gate") if _linear(module, n)))
    yield "", F.softplus(bias)


def _min_lstm_rates(module: nn.Module) -> Rates:
    if _linear(module, "to_hidden_and_gate"):
        _, f, i = _bias(module, "to_hidden_and_gate").chunk(3)
    else:
        pair = next(
            p for p in (("linear_f", "linear_i"), ("to_f", "to_i"), ("f_proj", "i_proj")) if _linear(module, *p)
        )
        f, i = _bias(module, pair[0]), _bias(module, pair[1])
    yield "", torch.log1p(torch.exp(F.logsigmoid(i) - F.logsigmoid(f)))  # -ln(f / (f + i))


def _gla_rates(module: nn.Module) -> Rates:
    yield "", F.softplus(-_bias(module, "gk_proj")) / float(getattr(module, "gate_logit_normalizer", 16))


def _retention_rates(module: nn.Module) -> Rates:
    heads = torch.arange(int(getattr(module, "num_heads", 0)), dtype=torch.float64, device="cpu")
    yield "", -torch.log1p(-torch.exp2(-5.0 - heads))


def _one(read: Callable[[nn.Module], Tensor]) -> Callable[[nn.Module], Rates]:
    def rates(module: nn.Module) -> Rates:
        yield "", read(module)

    return rates


def _per_head(module: nn.Module) -> bool:
    a, dt = _own(module, "A_log"), _own(module, "dt_bias")
    return a is not None and dt is not None and a.numel() == dt.numel()


def _per_channel(module: nn.Module) -> bool:
    a, dt = _own(module, "A_log"), _own(module, "dt_bias")
    return a is not None and dt is not None and dt.numel() > a.numel() > 0 and dt.numel() % a.numel() == 0


def _per_state(module: nn.Module) -> bool:
    a = _own(module, "A_log")
    return a is not None and a.dim() >= 2 and (_own(module, "dt_proj_bias") is not None or _linear(module, "dt_proj"))


_RWKV = "a = exp(-exp(w))"
_SOFTPLUS = "a = exp(-exp(A_log) softplus(dt_bias))"
_TRANSFORMERS, _FLA = "transformers 5.24 ", "flash-linear-attention "

# The first row that fits speaks.  Sources are the code that was read, unless a paper is named.
FAMILIES: tuple[Family, ...] = (
    Family(
        name="LSTM",
        fits=lambda m: isinstance(m, (nn.LSTM, nn.LSTMCell)),
        rates=_torch_rates(1),
        formula="a = sigmoid(b_if + b_hf)",
        source="torch.nn.LSTM; Tallec & Ollivier 2018, arXiv:1804.11188",
    ),
    Family(
        name="GRU",
        fits=lambda m: isinstance(m, (nn.GRU, nn.GRUCell)),
        rates=_torch_rates(1),
        formula="a = sigmoid(b_iz + b_hz)",
        source="torch.nn.GRU",
    ),
    Family(
        name="GatedDeltaNet",
        fits=lambda m: _per_head(m) and _called(m, "delta|gdn"),
        rates=_head_rates,
        formula=_SOFTPLUS,
        source=_TRANSFORMERS + "qwen3_next, qwen3_5, qwen4_exp, olmo_hybrid; " + _FLA + "gated_deltanet",
    ),
    Family(
        name="Mamba-2",
        fits=_per_head,
        rates=_head_rates,
        formula=_SOFTPLUS,
        source=_TRANSFORMERS + "mamba2, bamba, falcon_h1, granitemoehybrid, nemotron_h, zamba2",
    ),
    Family(
        name="Kimi Delta Attention",
        fits=_per_channel,
        rates=_channel_rates,
        formula=_SOFTPLUS + ", a channel; with a lower bound m exp(m sigmoid(exp(A_log) dt_bias))",
        source=_TRANSFORMERS + "kimi_linear, glm5_next, bailing_hybrid",
    ),
    Family(
        name="Mamba",
        fits=_per_state,
        rates=_state_rates,
        formula="a = exp(-exp(A_log) softplus(dt_proj.bias))",
        source=_TRANSFORMERS + "mamba, falcon_mamba, jamba, zamba",
    ),
    Family(
        name="RG-LRU",
        fits=_has("recurrent_param", "recurrent_gate_bias"),
        rates=_one(
            lambda m: 8.0 * F.softplus(_get(m, "recurrent_param")) * _get(m, "recurrent_gate_bias").sigmoid().view(-1)
        ),
        formula="a = exp(-8 softplus(recurrent_param) sigmoid(recurrent_gate_bias))",
        source=_TRANSFORMERS + "recurrent_gemma",
    ),
    Family(
        name="RG-LRU",
        fits=_has("a_param", "a_gate.b"),
        rates=_one(lambda m: 8.0 * F.softplus(_get(m, "a_param")) * _get(m, "a_gate.b").sigmoid().view(-1)),
        formula="a = exp(-8 softplus(a_param) sigmoid(a_gate.b))",
        source="De et al. 2024, arXiv:2402.19427",
    ),
    Family(
        name="RWKV-7",
        fits=lambda m: _own(m, "w_lora.lora.2.bias") is not None,
        rates=_one(lambda m: math.exp(-0.5) * _get(m, "w_lora.lora.2.bias").sigmoid()),
        formula="a = exp(-exp(-1/2) sigmoid(w))",
        source=_FLA + "rwkv7",
    ),
    Family(
        name="RWKV-7",
        fits=_has("w0", "w1", "w2"),
        rates=_one(lambda m: math.exp(-0.5) * _get(m, "w0").sigmoid()),
        formula="a = exp(-exp(-1/2) sigmoid(w0))",
        source=_FLA + "rwkv7; the reference code's names",
    ),
    Family(
        name="RWKV-6",
        fits=lambda m: _own(m, "w_proj.linear.lora.2.bias") is not None,
        rates=_one(lambda m: _get(m, "w_proj.linear.lora.2.bias").exp()),
        formula=_RWKV + ", w = w_proj's bias",
        source=_FLA + "rwkv6",
    ),
    Family(
        name="RWKV",
        fits=_has("time_decay"),
        rates=_one(lambda m: _get(m, "time_decay").exp()),
        formula=_RWKV + ", w = time_decay",
        source=_TRANSFORMERS + "rwkv; the same name in the reference code of RWKV-4 to 6",
    ),
    Family(
        name="mLSTM",
        fits=lambda m: _linear(m, "fgate_preact") or _linear(m, "ifgate_preact") or _linear(m, "fgate", "igate"),
        rates=_xlstm_rates,
        formula="a = sigmoid(cap tanh(b_f / cap))",
        source=_TRANSFORMERS + "xlstm",
    ),
    Family(
        name="GLA",
        fits=lambda m: _linear(m, "gk_proj") and hasattr(m, "gate_logit_normalizer"),
        rates=_gla_rates,
        formula="a = sigmoid(b) ^ (1 / gate_logit_normalizer)",
        source=_FLA + "gla",
    ),
    Family(
        name="Lightning Attention",
        fits=_has("slope_rate"),
        rates=_one(lambda m: _get(m, "slope_rate")),
        formula="a = exp(-slope_rate), fixed",
        source=_TRANSFORMERS + "minimax",
    ),
    Family(
        name="RetNet",
        fits=lambda m: _called(m, "retention$") and isinstance(getattr(m, "num_heads", None), int),
        rates=_retention_rates,
        formula="a = 1 - 2 ^ (-5 - head), fixed",
        source="Sun et al. 2023, arXiv:2307.08621",
    ),
    Family(
        name="LRU",
        fits=_has("nu_log"),
        rates=_one(lambda m: _get(m, "nu_log").exp()),
        formula="|a| = exp(-exp(nu_log))",
        source="Orvieto et al. 2023, arXiv:2303.06349",
    ),
    Family(
        name="S4D",
        fits=_has("log_A_real", "log_dt"),
        rates=_one(lambda m: _get(m, "log_A_real").exp() * _get(m, "log_dt").exp().view(-1, 1)),
        formula="|a| = exp(-exp(log_A_real) exp(log_dt))",
        source="Gu et al. 2022, arXiv:2206.11893",
    ),
    Family(
        name="minLSTM",
        fits=lambda m: _called(m, "min_?lstm") and (_linear(m, "to_hidden_and_gate") or _min_lstm(m)),
        rates=_min_lstm_rates,
        formula="a = f / (f + i), f = sigmoid(b_f), i = sigmoid(b_i)",
        source="Feng et al. 2024, arXiv:2410.01201",
    ),
    Family(
        name="minGRU",
        fits=lambda m: _linear(m, "to_hidden_and_gate") or _linear(m, "linear_z", "linear_h") or _min_gru(m),
        rates=_min_gru_rates,
        formula="a = 1 - sigmoid(b_z)",
        source="Feng et al. 2024, arXiv:2410.01201",
    ),
)


def _min_gru(module: nn.Module) -> bool:
    return _called(module, "min_?gru") and any(_linear(module, n) for n in ("linear_z", "to_z", "z_proj", "gate"))


def _min_lstm(module: nn.Module) -> bool:
    return any(_linear(module, *pair) for pair in (("linear_f", "linear_i"), ("to_f", "to_i"), ("f_proj", "i_proj")))
