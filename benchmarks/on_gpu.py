"""What fadeout does on a GPU: right, without a trace, with few synchronisations, at what cost.

    PYTHONPATH=src python benchmarks/on_gpu.py                on a machine with a GPU: about four minutes
    PYTHONPATH=src python benchmarks/on_gpu.py --device cpu   the same checks on small networks, without one

Needs torch; with `transformers` GPT-2, a Llama and a ResNet-50 join in (random weights, nothing is downloaded).
Prints Markdown; the exit code is 1 if a check failed.  The goals stand beside the figures and fail nothing:
they hold where a plain pass takes 50 ms or more.

Synchronisations are counted by torch's own debug mode on a GPU.  Elsewhere a function mode counts the calls that
would wait for a device (`item`, `tolist`, `float(tensor)`, ..), those on numbers brought already among them.
"""

import argparse
import copy
import importlib.util
import math
import statistics
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# This file has the name of a package that torch itself imports, and its folder comes first where scripts are run.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

import fadeout  # noqa: E402

warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
WAITS = frozenset(
    """item tolist numpy cpu nonzero argwhere equal allclose is_nonzero masked_select unique
    __bool__ __float__ __int__ __index__ __complex__""".split()
)
ON_HOST = ("/theory/", "/forecast/")  # which compute with numbers that never were on a device
GOAL_MEASURE, GOAL_EXAMINE, GOAL_SYNCS, GOAL_MEMORY, GOAL_TIME, GOAL_COURSE = 1.4, 2.0, 8, 1.1, 4.0, 1.25


class Waits(TorchFunctionMode):
    """Counts calls that wait for the device, with the place in fadeout that made each."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Of all places."""
        return self.places.total()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        masked = name in ("__getitem__", "__setitem__") and any(
            isinstance(key, Tensor) and key.dtype is torch.bool
            for key in (args[1] if isinstance(args[1], tuple) else args[1:2])
        )
        if name in WAITS or masked:
            frames = [f for f in traceback.extract_stack() if "/fadeout/" in f.filename]
            if frames and not any(part in frames[-1].filename for part in ON_HOST):
                self.places[f"{frames[-1].filename.rsplit('/', 1)[1]}:{frames[-1].lineno} {name}"] += 1
        return func(*args, **(kwargs or {}))


def synchronisations(run: Callable[[], object], device: torch.device) -> Counter[str]:
    """The places whose calls wait for the device, and how often each does."""
    if device.type == "cpu":
        with Waits() as waits:
            run()
        return waits.places
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{Path(w.filename).name}:{w.lineno}" for w in seen if "synchroniz" in str(w.message))


@dataclass
class Report:
    """Checks, with what failed."""

    failed: list[str] = field(default_factory=list)

    def check(self, name: str, right: bool, what: str = "") -> None:
        print(f"- {'ok' if right else 'FAILED'}: {name}{f' ({what})' if what else ''}", flush=True)
        if not right:
            self.failed.append(name)


@dataclass
class Case:
    """A network with a batch and what is minimised."""

    name: str
    model: nn.Module
    batch: Any
    loss: Callable[..., Tensor] | None = None
    autocast: torch.dtype | None = None
    large: bool = True  # the goals speak of it

    def scalar(self) -> Tensor:
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            if self.loss is None:
                found: Tensor = self.model(**self.batch).loss
                return found
            return self.loss(self.model(self.batch[0]), self.batch[1])

    def plain(self) -> object:
        return torch.autograd.grad(self.scalar(), list(self.model.parameters()), allow_unused=True)

    def measure(self) -> Any:
        return fadeout.measure(self.model, self.batch, loss=self.loss, autocast=self.autocast)

    def examine(self, optimizer: torch.optim.Optimizer | None = None) -> Any:
        return fadeout.examine(
            self.model, self.batch, loss=self.loss, autocast=self.autocast, optimizer=optimizer or self.optimizer
        )

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)


def mlp(depth: int, width: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        nn.init.normal_(linear.weight, 0, (2.0 if act is nn.ReLU else 1.0) ** 0.5 / width**0.5)
        layers += [linear, act()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Reader(nn.Module):
    """Recurrent layers, read at the last step."""

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(inputs, units, layers, batch_first=True)
        self.out = nn.Linear(units, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.rnn(x)[0][:, -1])
        return y


def labels(count: int, device: torch.device) -> Tensor:
    return torch.randint(0, 10, (count,), device=device)


def cases(device: torch.device) -> Iterator[Case]:
    """Large where there is a GPU; the same kinds small elsewhere."""
    large = device.type != "cpu"
    half = torch.bfloat16 if large else None
    tokens, width, rows = (1024, 768, 8) if large else (32, 64, 2)
    x = torch.randn(256 if large else 16, 512 if large else 64, device=device)
    yield Case(
        f"MLP 50 x {x.shape[1]}", mlp(50, x.shape[1]).to(device), (x, labels(len(x), device)), F.cross_entropy,
        large=False,
    )  # fmt: skip
    if importlib.util.find_spec("transformers") is None:
        print("transformers is not installed: GPT-2, Llama and ResNet-50 are left out\n")
        return
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        ResNetConfig,
        ResNetForImageClassification,
    )

    ids = torch.randint(0, 1000, (rows, tokens), device=device)
    gpt = GPT2LMHeadModel(
        GPT2Config(
            n_layer=12,
            n_embd=width,
            n_head=12 if large else 4,
            vocab_size=50257 if large else 1000,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
            loss_type="ForCausalLM",
        )
    ).to(device)
    yield Case(f"GPT-2 12 x {width}, {rows} x {tokens}", gpt, {"input_ids": ids, "labels": ids}, autocast=half)
    del gpt
    llama = LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=12, hidden_size=512 if large else 64, intermediate_size=1408 if large else 128,
            num_attention_heads=8, num_key_value_heads=8, vocab_size=1000, use_cache=False,
        )
    ).to(device)  # fmt: skip
    yield Case(
        f"Llama 12 x {512 if large else 64}, {rows} x {tokens}", llama, {"input_ids": ids, "labels": ids}, autocast=half
    )
    del llama
    count, side = (64, 224) if large else (2, 64)
    images = torch.randn(count, 3, side, side, device=device)
    resnet = ResNetForImageClassification(ResNetConfig(num_labels=10)).to(device)
    yield Case(
        f"ResNet-50, {count} x {side} x {side}",
        resnet,
        {"pixel_values": images, "labels": labels(count, device)},
        autocast=half,
    )


# ---- right


def weights_by_autograd(case: Case) -> dict[str, float]:
    """log10 of the gradient norm at the output of every linear and convolutional layer, by plain hooks."""
    found: dict[str, Tensor] = {}
    handles = []
    for path, module in case.model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) or type(module).__name__ == "Conv1D":

            def keep(m: nn.Module, args: Any, out: Tensor, path: str = path) -> None:
                out.register_hook(lambda g: found.__setitem__(path, g.detach().double().norm()))

            handles.append(module.register_forward_hook(keep))
    try:
        case.plain()
    finally:
        for handle in handles:
            handle.remove()
    return {path: math.log10(float(norm)) for path, norm in found.items()}


def right(case: Case, report: Report) -> None:
    training = case.model.training
    case.model.eval()  # no dropout: two passes must be one
    wanted = weights_by_autograd(case)
    ledger = case.measure()
    case.model.train(training)
    uses = Counter(w.path for w in ledger.weights)
    pairs = [(w.norm, wanted[w.path]) for w in ledger.weights if w.path in wanted and uses[w.path] == 1]
    worst = max(abs(a - b) for a, b in pairs)
    allowed = 0.02 if case.autocast is not None else 1e-4  # two bf16 passes on a GPU differ
    report.check(
        f"{case.name}: {len(pairs)} gradients equal autograd's", worst <= allowed, f"worst {worst:.1e} decades"
    )
    report.check(
        f"{case.name}: the account closes", ledger.closing_error <= 1e-6, f"{ledger.closing_error:.1e} decades"
    )


# ---- no trace


def fingerprint(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> list[Any]:
    """Everything an exam must leave alone."""

    def tensors(value: Any) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            for item in value.values():
                yield from tensors(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from tensors(item)

    found: list[Any] = [torch.get_rng_state().clone()]
    if torch.cuda.is_available():
        found += [state.clone() for state in torch.cuda.get_rng_state_all()]
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found += [name, tensor.detach().clone(), tensor.requires_grad, tensor.data_ptr()]
        found.append(None if tensor.grad is None else tensor.grad.clone())
    found += [t.detach().clone() for t in tensors(list(optimizer.state.values()))]
    found += [t.detach().clone() for t in tensors(batch)]
    for module in model.modules():
        found += [sorted(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks), module.training]
    return found


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


def no_trace(case: Case, report: Report) -> None:
    case.scalar().backward()
    case.optimizer.step()  # moments
    before = fingerprint(case.model, case.optimizer, case.batch)
    case.examine()
    after_one = fingerprint(case.model, case.optimizer, case.batch)
    report.check(f"{case.name}: an exam leaves no trace", same(before, after_one))
    batches = [case.batch, case.batch]
    fadeout.examine(case.model, batches, loss=case.loss, autocast=case.autocast, optimizer=case.optimizer, steps=3)
    after = fingerprint(case.model, case.optimizer, case.batch)
    odd = [
        a if isinstance(a, str) else type(a).__name__ for a, b in zip(before, after, strict=False) if not same([a], [b])
    ]
    report.check(f"{case.name}: an exam of three steps leaves no trace", same(before, after), ", ".join(odd))
    case.optimizer.zero_grad()


# ---- recurrent layers


def loop(module: nn.RNNBase, x: Tensor, seen: list[tuple[int, bool, int, Tensor, Tensor | None]]) -> Tensor:
    """The module as a loop over cells, (T, N, F) in and out; every state is noted."""
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    for layer in range(module.num_layers):
        sides = []
        for back in (False, True) if module.bidirectional else (False,):
            end = f"_l{layer}{'_reverse' if back else ''}"
            w_ih, w_hh = getattr(module, f"weight_ih{end}"), getattr(module, f"weight_hh{end}")
            b_ih, b_hh = getattr(module, f"bias_ih{end}"), getattr(module, f"bias_hh{end}")
            w_hr = getattr(module, f"weight_hr{end}", None)
            h = x.new_zeros(x.shape[1], module.proj_size or module.hidden_size)
            c = x.new_zeros(x.shape[1], module.hidden_size)
            outs: list[Tensor] = []
            order = range(len(x) - 1, -1, -1) if back else range(len(x))
            for t in order:
                a, b = F.linear(x[t], w_ih, b_ih).chunk(gates, -1), F.linear(h, w_hh, b_hh).chunk(gates, -1)
                if module.mode == "LSTM":
                    i, f, o = (torch.sigmoid(a[n] + b[n]) for n in (0, 1, 3))
                    c = f * c + i * torch.tanh(a[2] + b[2])
                    h = o * torch.tanh(c)
                    h = h if w_hr is None else h @ w_hr.T
                elif module.mode == "GRU":
                    r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
                    h = (1 - z) * torch.tanh(a[2] + r * b[2]) + z * h
                else:
                    h = (torch.tanh if module.mode == "RNN_TANH" else torch.relu)(a[0] + b[0])
                seen.append((layer, back, t, h, c if module.mode == "LSTM" else None))
                outs.append(h)
            sides.append(torch.stack(outs[::-1] if back else outs))
        x = torch.cat(sides, -1)
    return x


RECURRENT: dict[str, Callable[[], nn.RNNBase]] = {
    "LSTM": lambda: nn.LSTM(8, 16),
    "GRU": lambda: nn.GRU(8, 16),
    "RNN, tanh": lambda: nn.RNN(8, 16),
    "RNN, ReLU": lambda: nn.RNN(8, 16, nonlinearity="relu"),
    "LSTM, two layers": lambda: nn.LSTM(8, 16, 2),
    "LSTM, bidirectional": lambda: nn.LSTM(8, 16, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(8, 16, proj_size=6),
    "GRU, two layers, bidirectional": lambda: nn.GRU(8, 16, 2, bidirectional=True),
}


class Tagger(nn.Module):
    """Reads every step, so that a gradient enters at each."""

    def __init__(self, rnn: nn.RNNBase, *, packed: bool = False) -> None:
        super().__init__()
        self.packed = packed
        self.inside = nn.Linear(8, 8)
        self.rnn = rnn
        width = (rnn.proj_size or rnn.hidden_size) * (2 if rnn.bidirectional else 1)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(x)
        if self.packed:
            lengths = torch.full((x.shape[1],), len(x))
            y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(nn.utils.rnn.pack_padded_sequence(x, lengths))[0])
        else:
            y = self.rnn(x)[0]
        found: Tensor = self.out(y)
        return found


def gains_by_loop(model: Tagger, x: Tensor, y: Tensor, away: Callable[..., Tensor]) -> dict[str, list[float]]:
    """By layer and direction: decades from lag 0 to each lag, of what the loss says at a direction's last step."""
    seen: list[tuple[int, bool, int, Tensor, Tensor | None]] = []
    out = loop(model.rnn, model.inside(x), seen)
    (seed,) = torch.autograd.grad(away(model.out(out), y), out, retain_graph=True)
    width = model.rnn.proj_size or model.rnn.hidden_size
    found: dict[str, list[float]] = {}
    for way in range(2 if model.rnn.bidirectional else 1):
        last, part = (0 if way else len(x) - 1), slice(way * width, (way + 1) * width)
        scalar = (out[last][:, part] * seed[last][:, part]).sum()
        mine = [(layer, t, h, c) for layer, back, t, h, c in seen if back == bool(way)]
        states = [s for _, _, h, c in mine for s in ((h,) if c is None else (h, c))]
        grads = iter(torch.autograd.grad(scalar, states, retain_graph=True, allow_unused=True))
        squares: dict[int, dict[int, float]] = {}
        for layer, t, _, c in mine:
            pair = [next(grads) for _ in range(1 if c is None else 2)]
            total = sum(float(g.double().square().sum()) for g in pair if g is not None)
            squares.setdefault(layer, {})[t if way else len(x) - 1 - t] = total
        for layer, by_lag in squares.items():
            path = f"rnn.l{layer}{'_reverse' if way else ''}"
            found[path] = [math.log10(by_lag[lag] / by_lag[0]) / 2 for lag in range(len(x))]
    return found


def recurrent(device: torch.device, report: Report) -> None:
    x = torch.randn(40, 6, 8, device=device)

    def away(y: Tensor, target: Tensor) -> Tensor:
        return ((y.to(target.dtype) - target) ** 2).mean()

    y = torch.randn(40, 6, 1, device=device)
    for name, make in RECURRENT.items():
        for packed in (False, True) if name == "LSTM" else (False,):
            for kind, bound in ((torch.float32, 5e-4), (torch.float64, 1e-9)):
                torch.manual_seed(0)
                model = Tagger(make(), packed=packed).to(device, kind)
                data = x.to(kind), y.to(kind)
                exam = fadeout.examine(model, data, loss=away)
                wanted = gains_by_loop(model, *data, away)
                found = {row.path: row.log_gain for row in exam.time}
                pairs = [
                    (a, b) for path, gains in wanted.items() for a, b in zip(found.get(path, ()), gains, strict=False)
                ]
                worst = max((abs(a - b) for a, b in pairs), default=math.inf)
                title = f"{name}{', packed' if packed else ''}, {kind}"
                alike = found.keys() == wanted.keys() and worst < bound
                report.check(
                    f"{title}: {len(found)} profiles equal a loop over cells", alike, f"worst {worst:.1e} decades"
                )
    dropped = Tagger(nn.LSTM(8, 16, 2, dropout=0.5)).to(device)
    report.check("LSTM with dropout between layers: an exam", bool(fadeout.examine(dropped, (x, y), loss=away).time))
    if device.type == "cuda":  # cuDNN draws its masks from a state that can't be put back
        inside = []
        handle = dropped.rnn.register_forward_pre_hook(lambda m, args: inside.append(torch.backends.cudnn.enabled))
        fadeout.examine(dropped, (x, y), loss=away)
        handle.remove()
        right = not any(inside) and torch.backends.cudnn.enabled
        report.check("LSTM with dropout: an exam draws none of cuDNN's masks", bool(inside) and right)
    kind = torch.bfloat16 if device.type == "cpu" else torch.float16
    cast = Tagger(nn.LSTM(8, 16)).to(device)
    exam = fadeout.examine(cast, (x, y), loss=away, autocast=kind)
    report.check(f"LSTM under autocast to {kind}: an exam", bool(exam.time))


# ---- the ways people train


def ways(device: torch.device, report: Report) -> None:
    x, y = torch.randn(32, 64, device=device), labels(32, device)
    kind = torch.bfloat16 if device.type == "cpu" else torch.float16
    model = mlp(6, 64).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    exam = fadeout.examine(model, (x, y), loss=F.cross_entropy, optimizer=optimizer, autocast=kind)
    report.check(f"autocast to {kind}", exam.verdict == "flows", exam.verdict)
    scaler = torch.amp.GradScaler(device.type)

    def train_step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=kind):
            loss = F.cross_entropy(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    before = (scaler.state_dict(), fingerprint(model, optimizer, (x, y)))
    exam = fadeout.examine(model, [(x, y)] * 3, optimizer=optimizer, train_step=train_step, steps=5)
    report.check("GradScaler in train_step=, five steps", exam.verdict in ("flows", "trains"), exam.verdict)
    after = (scaler.state_dict(), fingerprint(model, optimizer, (x, y)))
    report.check("GradScaler: no trace", before[0] == after[0] and same(before[1], after[1]))
    if device.type == "cpu":
        print("- left out: torch.compile (it needs a compiler; the tests examine compiled models)")
        return
    compiled = torch.compile(copy.deepcopy(model))
    compiled(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a = fadeout.measure(compiled, (x, y), loss=F.cross_entropy)
        compiled(x)
    b = fadeout.measure(model, (x, y), loss=F.cross_entropy)
    report.check("torch.compile: the account of the module inside", abs(a.log_gain - b.log_gain) < 1e-4)


# ---- what it costs


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ratio(
    plain: Callable[[], object], other: Callable[[], object], device: torch.device, runs: int
) -> tuple[float, float]:
    """Median seconds of the plain run, median ratio of paired runs."""
    plain(), other()
    base, found = [], []
    for _ in range(runs):
        a = clock(device)
        plain()
        b = clock(device)
        other()
        c = clock(device)
        base.append(b - a)
        found.append((c - b) / (b - a))
    return statistics.median(base), statistics.median(found)


@contextmanager
def peak(device: torch.device) -> Iterator[list[float]]:
    """Largest memory in use inside, bytes; nan without a GPU."""
    found = [math.nan]
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if device.type == "cuda":
        torch.cuda.synchronize()
        found[0] = float(torch.cuda.max_memory_allocated())


def cost(case: Case, device: torch.device, runs: int) -> None:
    plain, measured = ratio(case.plain, case.measure, device, runs)
    _, examined = ratio(case.plain, case.examine, device, runs)
    nodes = case.measure().nodes
    with peak(device) as base:
        case.plain()
    with peak(device) as ours:
        case.examine()
    syncs = [synchronisations(run, device).total() for run in (case.measure, case.examine)]
    extra = plain * (measured - 1) / nodes * 1e6
    print(
        f"| {case.name} | {plain * 1e3:.1f} ms | {nodes} | x{measured:.2f} | {extra:.0f} | x{examined:.2f} "
        f"| {'-' if math.isnan(base[0]) else f'x{ours[0] / base[0]:.2f}'} | {syncs[0]} | {syncs[1]} |",
        flush=True,
    )


def courses(device: torch.device, runs: int) -> None:
    """300 steps with probes, against the steps alone."""
    width = 512 if device.type == "cuda" else 64
    steps = 300 if device.type == "cuda" else 60
    model = mlp(20, width).to(device)
    batches = [(torch.randn(128, width, device=device), labels(128, device)) for _ in range(8)]

    def alone() -> None:
        twin = copy.deepcopy(model)
        optimizer = torch.optim.AdamW(twin.parameters(), 1e-3)
        for n in range(steps):
            x, y = batches[n % 8]
            optimizer.zero_grad()
            loss = F.cross_entropy(twin(x), y)
            loss.backward()
            optimizer.step()
            loss.item()

    def watched() -> None:
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        fadeout.examine(model, batches, loss=F.cross_entropy, optimizer=optimizer, steps=steps)

    base, found = ratio(alone, watched, device, max(3, runs // 3))
    print(f"\n{steps} steps of an MLP 20 x {width}: {base:.2f} s, examined x{found:.2f} (goal x{GOAL_COURSE})")
    rows, length, units = (32, 200, 256) if device.type == "cuda" else (4, 100, 16)
    reader = Case(
        f"LSTM 2 x {units}, T = {length}",
        Reader(64, units, 2).to(device),
        (torch.randn(rows, length, 64, device=device), labels(rows, device)),
        F.cross_entropy,
    )
    base, found = ratio(reader.plain, reader.examine, device, runs)
    syncs = synchronisations(reader.examine, device)
    most = ", ".join(f"{place} {count}" for place, count in syncs.most_common(6))
    print(f"{reader.name}: {base * 1e3:.1f} ms, examined x{found:.2f} (goal x{GOAL_TIME})")
    print(f"{syncs.total()} synchronisations, most of them at {most}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("on_gpu.py: there is no GPU here; --device cpu runs the same checks on small networks", file=sys.stderr)
        return 2
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU, one thread, small networks"
    print(
        f"# fadeout on {name}\n\ntorch {torch.__version__}, median of {options.runs} pairs\n\n## Right, and no trace\n"
    )
    report = Report()
    for case in cases(device):
        right(case, report)
        no_trace(case, report)
    print("\n## Recurrent layers\n")
    recurrent(device, report)
    print("\n## Ways to train\n")
    ways(device, report)
    print("\n## What it costs\n")
    print(f"Goals where a plain pass takes 50 ms or more: measure x{GOAL_MEASURE}, examine x{GOAL_EXAMINE}, ", end="")
    print(f"{GOAL_SYNCS} synchronisations, memory x{GOAL_MEMORY}.\n")
    print("| network | plain | nodes | measure | us a node | examine | memory | syncs, measure | syncs, examine |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for case in cases(device):
        cost(case, device, options.runs)
    courses(device, options.runs)
    if report.failed:
        print(f"\n{len(report.failed)} checks failed: {'; '.join(report.failed)}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
