"""Decay gates: how long a linear recurrence remembers as its gates are started, and whether it learns to remember."""

import importlib.util
import math
import statistics
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.lab.experiment import Expectation, Found, Published, Task, grid
from fadeout.lab.today_part import NAME, Part, percent, told
from fadeout.records import Figure, Reference, Row, Size, Table, interval

SHIPPED, DRAWN = "gates started at one (dt_bias = 1)", "gates started slow (dt from 0.001 to 0.1)"
QWEN, BAMBA = "Qwen3-Next of transformers", "Bamba of transformers"
SYMBOLS, NOISE = 8, 8  # what is to be remembered; what comes after it
WIDTH, HEADS, LAYERS, ROWS = 32, 8, 2, 32
LENGTHS: dict[Size, tuple[float, ...]] = {"smoke": (16,), "quick": (2, 4, 8, 16), "full": (2, 4, 8, 16, 32, 64)}
STEPS: dict[Size, int] = {"smoke": 0, "quick": 250, "full": 1000}
LEARNERS: dict[Size, range] = {"smoke": range(0), "quick": range(3), "full": range(5)}  # seeds that are trained
STARTERS: dict[Size, range] = {"smoke": range(3), "quick": range(10), "full": range(20)}  # of the start, which is cheap
RATE = 5e-3


def tasks(size: Size) -> tuple[Task, ...]:
    own = grid(NAME, size, (SHIPPED, DRAWN), LEARNERS[size], LENGTHS[size])
    own += grid(NAME, size, (SHIPPED, DRAWN), STARTERS[size][len(LEARNERS[size]) :], LENGTHS[size][-1:])
    real = size != "smoke" and importlib.util.find_spec("transformers") is not None
    return own + (grid(NAME, size, (QWEN, BAMBA), LEARNERS[size]) if real else ())


def decays(logs: Tensor) -> Tensor:
    """What is left at position t of what was written at s <= t, (..., T, T), from the logs a token, (..., T).

    Summed between s and t (Dao and Gu 2024, listing 1): a difference of two running sums would cancel, and its
    rounding would look like a gradient from far back.
    """
    length = logs.shape[-1]
    past = torch.ones(length, length, dtype=torch.bool, device=logs.device).tril()
    steps = logs.unsqueeze(-1).expand(*logs.shape, length).masked_fill(~past.tril(-1), 0.0)
    return steps.cumsum(-2).masked_fill(~past, -math.inf).exp()


class Mamba(nn.Module):
    """A layer like Mamba-2's: a state a head that decays by exp(-A dt), dt = softplus(w x + dt_bias).

    Written as attention with decay, which computes the same as the recurrence
    S_t = exp(-A dt_t) S_(t-1) + dt_t k_t v_t, y_t = q_t S_t (Dao and Gu 2024, 2405.21060).
    """

    def __init__(self, *, slow: bool) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.step = nn.Linear(WIDTH, HEADS, bias=False)
        self.A_log = nn.Parameter(torch.empty(HEADS).uniform_(1, 16).log())
        dt = torch.exp(torch.empty(HEADS).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)) if slow else torch.ones(HEADS))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (part(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        dt = F.softplus(self.step(h) + self.dt_bias).transpose(1, 2)  # (N, heads, T)
        y = (decays(-self.A_log.exp().unsqueeze(-1) * dt) * (q @ k.mT)) @ (dt.unsqueeze(-1) * v)
        out: Tensor = x + self.out(self.last(y.transpose(1, 2).flatten(2)))
        return out


class Rememberer(nn.Module):
    """Says at every position which symbol came first; only the last position is asked."""

    def __init__(self, *, slow: bool) -> None:
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS + NOISE, WIDTH)
        self.layers = nn.Sequential(*(Mamba(slow=slow) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, SYMBOLS)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.layers(self.symbol(ids))))
        return out


def at_the_end(out: Tensor, y: Tensor) -> Tensor:
    """Loss of the last position."""
    return F.cross_entropy(out[:, -1], y)


def recall(rows: int, length: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A symbol, then `length` others that say nothing."""
    first = torch.randint(0, SYMBOLS, (rows, 1), generator=draw)
    noise = torch.randint(SYMBOLS, SYMBOLS + NOISE, (rows, length), generator=draw)
    return torch.cat([first, noise], 1), first[:, 0]


def measure(task: Task) -> Iterator[Row]:
    def row(quantity: str, value: float, x: float = math.nan) -> Row:
        return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=x)

    if task.arm in (QWEN, BAMBA):
        model = real_one(task.arm)
        ids = torch.randint(0, 32, (2, 16))
        exam = fadeout.examine(model, {"input_ids": ids, "labels": ids, "use_cache": False})
        spans = [profile.gate_horizon for profile in exam.time if profile.gate_horizon is not None]
        yield row("tokens to a decade", statistics.median(span.median for span in spans))
        yield row("tokens to a decade, slowest head", max(span.slowest for span in spans))
        return
    length = int(task.x)
    model, draw = Rememberer(slow=task.arm == DRAWN), torch.Generator().manual_seed(task.seed)
    if length == max(LENGTHS[task.size]):
        exam = fadeout.examine(model, recall(ROWS, length, draw), loss=at_the_end, reach=1)
        spans = [profile.gate_horizon for profile in exam.time if profile.gate_horizon is not None]
        yield row("tokens to a decade", statistics.median(span.median for span in spans))
        yield row("tokens to a decade, slowest head", max(span.slowest for span in spans))
        (reach,) = (profile for profile in exam.tokens if profile.reach)
        for distance, decades in enumerate(reach.distance_curve):
            yield row("reach", decades, float(distance))
    if task.seed in LEARNERS[task.size]:
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        for _ in range(STEPS[task.size]):
            x, y = recall(ROWS, length, draw)
            optimizer.zero_grad()
            at_the_end(model(x), y).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        x, y = recall(512, length, draw)
        with torch.no_grad():
            yield row("symbols remembered", float((model(x)[:, -1].argmax(-1) == y).double().mean()), float(length))


def real_one(arm: str) -> nn.Module:
    """The class of transformers itself, started by its own code, in a tiny size."""
    from transformers import BambaConfig, BambaForCausalLM, Qwen3NextConfig, Qwen3NextForCausalLM

    shape = {"vocab_size": 32, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    found: nn.Module
    if arm == BAMBA:
        found = BambaForCausalLM(
            BambaConfig(**shape, attn_layer_indices=[], mamba_n_heads=16, mamba_d_head=8, mamba_n_groups=1,
                        mamba_d_state=16, mamba_chunk_size=16, pad_token_id=0)
        )  # fmt: skip
    else:
        found = Qwen3NextForCausalLM(
            Qwen3NextConfig(**shape, head_dim=16, linear_num_value_heads=16, linear_num_key_heads=8,
                            linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention"] * 2,
                            mlp_only_layers=[0, 1], num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32,
                            shared_expert_intermediate_size=32)
        )  # fmt: skip
    return found


def horizons(table: Table) -> Found:
    arms = [arm for arm in (SHIPPED, QWEN, BAMBA, DRAWN) if arm in table.arms("tokens to a decade")]
    median = {arm: table.of("tokens to a decade", arm) for arm in arms}
    slowest = {arm: table.of("tokens to a decade, slowest head", arm) for arm in arms}
    held = all(max(table.values("tokens to a decade", arm)) < 1 for arm in arms if arm != DRAWN)
    held = held and min(table.values("tokens to a decade", DRAWN)) > 10 and slowest[DRAWN].mean > 100
    said = "; ".join(f"{arm} {median[arm].mean:.2g} ({slowest[arm].mean:.2g})" for arm in arms)
    return Found(held=held, measured=f"Tokens to a decade, median head (slowest head): {said}.")


def reach_agrees(table: Table) -> Found:
    lost = {arm: table.of("reach", arm, 16.0) for arm in (SHIPPED, DRAWN)}
    said = ", ".join(f"{arm} {told(v, 1)}" for arm, v in lost.items())
    return Found(
        held=max(table.values("reach", SHIPPED, 16.0)) < -5 and min(table.values("reach", DRAWN, 16.0)) > -3.5,
        measured=f"Decades of the gradient 16 tokens back, relative to the last token: {said}.",
    )


def near(table: Table) -> Found:
    found = {arm: table.values("symbols remembered", arm, 2.0) for arm in (SHIPPED, DRAWN)}
    said = "; ".join(f"{arm}: " + ", ".join(f"{100 * v:.0f} %" for v in values) for arm, values in found.items())
    return Found(
        held=all(interval(values).low > 0.9 for values in found.values()),
        measured=f"Symbols remembered over 2 tokens, one network a seed: {said}.",
    )


def far(table: Table) -> Found:
    lengths = [x for x in table.xs("symbols remembered", SHIPPED) if x > 2]
    found = {arm: {x: table.of("symbols remembered", arm, x) for x in lengths} for arm in (SHIPPED, DRAWN)}
    said = "; ".join(
        f"{arm}: " + ", ".join(f"{percent(v)} over {x:.0f}" for x, v in at.items()) for arm, at in found.items()
    )
    return Found(
        held=all(found[SHIPPED][x].high < 0.3 and found[DRAWN][x].low > 0.9 for x in lengths if x >= 16),
        measured=f"Symbols remembered over so many tokens (chance 12.5 %): {said}.",
    )


PART = Part(
    arms=(SHIPPED, DRAWN, QWEN, BAMBA),
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Decay gates: with dt_bias = 1 the median head loses a decade in less than one token, in our layer "
            "and in the classes of transformers where it is installed; with dt drawn between 0.001 and 0.1 in more "
            "than 10, and the slowest head in more than 100.",
            check=horizons,
            needs="smoke",
        ),
        Expectation(
            says="Decay gates: autograd agrees; 16 tokens back the gradient has lost more than 5 decades with "
            "dt_bias = 1 and less than 3.5 with the slow start.",
            check=reach_agrees,
            needs="smoke",
        ),
        Expectation(
            says="Decay gates: over 16 tokens and more a network with dt_bias = 1 remembers fewer than 30 % of the "
            "symbols (chance is 12.5 %), one with the slow start more than 90 %.",
            check=far,
        ),
        Expectation(
            says="Decay gates, the control: over 2 tokens both remember more than 90 %.",
            check=near,
        ),
    ),
    published=(
        Published(
            source="Dao and Gu 2024, Mamba-2, 2405.21060; transformers 5.24, modeling_qwen3_next.py and "
            "modeling_bamba.py (both read)",
            what="Start of the gates: dt_bias, and the dt that follows",
            theirs="the original code draws dt between 0.001 and 0.1; transformers sets dt_bias = 1 in Qwen3-Next "
            "and Bamba, a dt of 1.31",
            ours=lambda table: ", ".join(
                f"{arm} {table.mean('tokens to a decade', arm):.2g} tokens to a decade"
                for arm in table.arms("tokens to a decade")
            ),
            differs="whoever loads trained weights overwrites the start; only training from scratch is hurt. Our "
            "layer has no convolution and eight heads",
        ),
    ),
    figures=(
        Figure(
            title="Over how many tokens a network learns to remember a symbol",
            quantity="symbols remembered",
            x="tokens between the symbol and the question",
            y="symbols remembered",
            x_log=True,
            percent=True,
            low=0.0,
            high=1.0,
            arms=(SHIPPED, DRAWN),
            references=(Reference(says="guessing", value=1 / SYMBOLS),),
            caption="The same layers, the same data, the same training. Only one number a head differs at the start: "
            "how much of its memory it loses with every token.",
        ),
    ),
)
