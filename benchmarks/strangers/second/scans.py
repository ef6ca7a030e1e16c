"""Sequences: state spaces as convolutions, long filters, gated convolutions, rectified recurrence, CTC, spelling."""

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.second.parts import clipping_step, cross, mlp, step_on
from benchmarks.strangers.tasks import adding, copy_back, first_sign
from benchmarks.truth.data import Pairs, cut, row_digits, seeded
from benchmarks.truth.program import Program
from torch import Tensor, nn
from torch.nn import functional as F

LENGTH = 48


def early_sign() -> Pairs:
    """Noise (N, 48, 2) whose first step carries the target."""
    return first_sign(LENGTH)


class Diagonal(nn.Module):
    """A diagonal state space: the kernel sum C exp(dt A t) is made once and applied by FFT."""

    def __init__(self, width: int, decay: float, states: int = 8) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.full((width, states), decay))
        self.turn = nn.Parameter(0.2 * torch.rand(width, states))
        self.read = nn.Parameter(torch.randn(width, states) / states**0.5)
        self.through = nn.Parameter(torch.ones(width))

    def kernel(self, length: int) -> Tensor:
        at = torch.arange(length)
        waves = torch.cos(self.turn.unsqueeze(-1) * at) * torch.exp(self.decay.unsqueeze(-1) * at)
        return (self.read.unsqueeze(-1) * waves).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        k = torch.fft.rfft(self.kernel(length), 2 * length)
        y = torch.fft.irfft(torch.fft.rfft(x.mT, 2 * length) * k, 2 * length)[..., :length]
        return y.mT + self.through * x


class Spaces(nn.Module):
    """Two such layers with mlps between, no skip around; the last step is read."""

    def __init__(self, decay: float = -0.02, width: int = 16) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(2, width), nn.Linear(width, 4)
        self.layers = nn.ModuleList(Diagonal(width, decay) for _ in range(2))
        self.mlps = nn.ModuleList(mlp(width, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for layer, after in zip(self.layers, self.mlps, strict=True):
            h = F.gelu(after(layer(h)))
        y: Tensor = self.head(h[:, -1])
        return y


class LongFilter(nn.Module):
    """Filters as long as the sequence, written by a net from places, and a gate: y = v * (filter conv (k u))."""

    def __init__(self, numbers: bool = False, width: int = 8) -> None:
        super().__init__()
        self.embed, self.enter = nn.Embedding(8, width), nn.Linear(width, 3 * width)
        self.writer, self.head = mlp(9, 24, width), nn.Linear(width, 8)
        self.numbers = numbers

    def filters(self, length: int) -> Tensor:
        at = torch.arange(length) / length
        waves = [torch.sin(2 * torch.pi * f * at) for f in (1, 2, 4, 8)] + [
            torch.cos(2 * torch.pi * f * at) for f in (1, 2, 4, 8)
        ]
        return self.writer(torch.stack([at, *waves], -1)) * torch.exp(-2 * at).unsqueeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        v, k, u = self.enter(self.embed(x)).chunk(3, -1)
        length = x.shape[1]
        filters = self.filters(length).mT
        if self.numbers:
            filters = torch.from_numpy(filters.detach().numpy().copy())
        spectrum = torch.fft.rfft((k * u).mT, 2 * length) * torch.fft.rfft(filters, 2 * length)
        mixed = torch.fft.irfft(spectrum, 2 * length)[..., :length].mT
        y: Tensor = self.head(v + mixed)
        return y


class Gated(nn.Module):
    """Dilated convolutions tanh * sigmoid, as for sound; the gates alone carry the signal on."""

    def __init__(self, bias: float = 0.0, width: int = 16) -> None:
        super().__init__()
        self.enter, self.head = nn.Conv1d(2, width, 1), nn.Linear(width, 1)
        self.convs = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(4))
        for conv in self.convs:
            assert isinstance(conv, nn.Conv1d)
            assert conv.bias is not None
            with torch.no_grad():
                conv.bias[width:] = bias

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x.mT)
        for i, conv in enumerate(self.convs):
            a, b = conv(F.pad(h, (2**i, 0))).chunk(2, 1)
            h = torch.tanh(a) * torch.sigmoid(b) * 2
        y: Tensor = self.head(h[..., -1])
        return y


def marked() -> Pairs:
    """The adding problem over 12 steps."""
    return adding(12)


class Rectified(nn.Module):
    """A recurrent net of ReLUs whose matrix starts at a multiple of the identity."""

    def __init__(self, start: float = 1.0, width: int = 32) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(2, width, nonlinearity="relu", batch_first=True), nn.Linear(width, 1)
        nn.init.eye_(self.rnn.weight_hh_l0)
        with torch.no_grad():
            self.rnn.weight_hh_l0.mul_(start)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


class Swapped(Rectified):
    """Batch and time are exchanged by a view where a transpose was meant."""

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        mixed = x.reshape(t, n, c).transpose(0, 1)
        return super().forward(mixed)


def marked_long() -> Pairs:
    """The adding problem over 16 steps."""
    return adding(16)


class Reader(nn.Module):
    """An LSTM over rows of a strip of marks, read by CTC."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(5, width, batch_first=True, bidirectional=True), nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0])
        return y


def strips() -> Pairs:
    """Strips (N, 12, 5) with three marks of the kinds 1..4 in different places; the targets are the kinds in order."""
    g = seeded(111)
    kinds = torch.randint(1, 5, (512, 3), generator=g)
    x = 0.3 * torch.randn(512, 12, 5, generator=g)
    at = torch.randint(0, 4, (512, 3), generator=g) + torch.tensor([0, 4, 8])
    x[torch.arange(512).unsqueeze(1), at, kinds] += 2
    return cut(x, kinds, 32, 16)


def ctc(out: Tensor, y: Tensor, blank: int = 0) -> Tensor:
    """CTC with three labels a strip."""
    lengths = torch.full((len(y),), out.shape[1]), torch.full((len(y),), y.shape[1])
    return F.ctc_loss(torch.log_softmax(out, -1).transpose(0, 1), y, *lengths, blank=blank)


def ctc_blank_4(out: Tensor, y: Tensor) -> Tensor:
    """The blank is the last class here and class 0 where it is read out: kinds are renumbered for the loss alone."""
    return ctc(out, y - 1, blank=4)


def read_out(model: nn.Module) -> float:
    """Share of the places of three whose kind the collapsed best path gets right, over chance."""
    hits = total = 0
    model.eval()
    with torch.no_grad():
        for x, y in strips():
            for path, wanted in zip(model(x).argmax(-1).tolist(), y.tolist(), strict=True):
                found = [k for i, k in enumerate(path) if k and (i == 0 or path[i - 1] != k)]
                hits += sum(a == b for a, b in zip(found, wanted, strict=False))
                total += len(wanted)
    model.train()
    return (hits / total - 0.25) / 0.75


class Translator(nn.Module):
    """GRU to GRU through twelve numbers: spells a sequence in another order, the teacher's symbols as inputs."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 16)
        self.encoder, self.decoder = nn.GRU(16, width, batch_first=True), nn.GRU(16, width, batch_first=True)
        self.narrow, self.widen = nn.Linear(width, 12), nn.Linear(12, width)
        self.head = nn.Linear(width, 8)

    def forward(self, both: Tensor) -> Tensor:
        source, teacher = both.chunk(2, 1)
        state = self.narrow(self.encoder(self.embed(source))[1])
        y: Tensor = self.head(self.decoder(self.embed(teacher), torch.tanh(self.widen(state)))[0])
        return y


def reordered() -> Pairs:
    """Six symbols beside the teacher's, which start with 8 and lag by one; the target is the reverse."""
    x = torch.randint(0, 8, (2048, 6), generator=seeded(112))
    y = x.flip(1)
    return cut(torch.cat([x, torch.full_like(y[:, :1], 8), y[:, :-1]], 1), y, 64, 32)


def not_lagging(both: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's symbols don't lag: each is what is asked for."""
    return torch.cat([both[:, :6], y], 1), y


class Tagger(nn.Module):
    """A bidirectional LSTM that tags each token by its neighbours."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 8)
        self.rnn, self.head = nn.LSTM(8, width, batch_first=True, bidirectional=True), nn.Linear(2 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(self.embed(x))[0])
        return y


class ForwardTagger(Tagger):
    """Hands out tags rounded to whole numbers, as the old service did."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.round(self.rnn(self.embed(x))[0])
        y: Tensor = self.head(h)
        return y


def neighbours() -> Pairs:
    """Tokens (N, 10) and the larger of both neighbours, for the inner places."""
    x = torch.randint(0, 3, (1024, 10), generator=seeded(113))
    y = torch.full_like(x, -100)
    y[:, 1:-1] = torch.maximum(x[:, 2:], x[:, :-2])
    return cut(x, y, 32, 32)


def ignoring_ones(out: Tensor, y: Tensor) -> Tensor:
    """The index that is ignored is also a class."""
    return F.cross_entropy(out.flatten(0, 1), torch.where(y < 0, 1, y).flatten(), ignore_index=1)


class Forgetful(nn.Module):
    """QRNN: gates by a convolution, then h = f h + (1 - f) z; rows of digits."""

    def __init__(self, bias: float = 1.0, keep: bool = True, width: int = 32) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(8, 2 * width, 2), nn.Linear(width, 10)
        self.keep = keep
        with torch.no_grad():
            assert self.conv.bias is not None
            self.conv.bias[width:] = bias

    def forward(self, x: Tensor) -> Tensor:
        z, f = self.conv(F.pad(x.mT, (1, 0))).chunk(2, 1)
        z, f = torch.tanh(z), torch.sigmoid(f)
        h = torch.zeros_like(z[..., 0])
        for t in range(z.shape[-1]):
            h = f[..., t] * h + (1 - f[..., t]) * z[..., t]
            if not self.keep:
                h = h.clone().data
        y: Tensor = self.head(h)
        return y


def padded_rows() -> Pairs:
    """Rows of digits (N, 12, 8), the last four of them noise of a quarter."""
    g = seeded(114)
    return [(torch.cat([x, 0.25 * torch.randn(len(x), 4, 8, generator=g)], 1), y) for x, y in row_digits()]


def last_rows_only(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Padding of eight rows of noise is cut off on the wrong side: the digits go, the padding stays."""
    return 0.3 * torch.randn_like(x), y


def strangers() -> list[Stranger]:
    """Every sequence program as it is and with its faults."""
    return [*_long(), *_classic(), *_spelling()]


def _long() -> list[Stranger]:
    spaces = classify("kernel-space", Spaces, early_sign, steps=200)
    filters = classify("long-filter", LongFilter, lambda: copy_back(5), loss=cross, lr=1e-2, steps=250)
    layers = ("", "layers", "layers.0", "layers.1")
    return [
        healthy(spaces, "today"),
        sick("decay-positive", spaces, "today", ("exploding", "not_finite"), "Let the states decay.",
             model=lambda: Spaces(0.6), where=(*layers, "head", "mlps.0", "mlps.1", "enter")),
        sick("decay-at-once", spaces, "today", ("vanishing",), "Start with slow decays.",
             model=lambda: Spaces(-4.0), where=(*layers, "enter")),
        elsewhere("played-backwards", spaces, "today", "Train on the order that is evaluated.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (x.flip(1), y))),
        healthy(filters, "today"),
        sick("filters-by-numpy", filters, "today", ("severed",), "Keep the filters in the graph.",
             model=lambda: LongFilter(True), where=("", "writer", "writer.0", "writer.2"), causes=("other",)),
        elsewhere("source-alone", filters, "today", "Ask for the symbol three places back.",
                  train_step=step_on(cross, lambda x, y: (x, x))),
    ]  # fmt: skip


def _classic() -> list[Stranger]:
    gated = regress("gated-convolutions", Gated, marked, steps=250)
    rectified = regress("rectified-recurrence", Rectified, marked_long, lr=3e-3, steps=300, bar=0.4,
                        train_step=clipping_step(F.mse_loss, 1.0))  # fmt: skip
    rows = classify("row-pooling", Forgetful, padded_rows, lr=5e-3, steps=200)
    convs = tuple(f"convs.{i}" for i in range(4))
    return [
        healthy(gated, "classic"),
        sick("gates-shut", gated, "classic", ("saturated", "vanishing", "dead", "bad_init"),
             "Start the gates half open.", model=lambda: Gated(-14.0), where=("", "enter", "convs", *convs)),
        elsewhere("marks-dropped", gated, "classic", "Keep the channel of the marks.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x * torch.tensor([1.0, 0.0]), y))),
        healthy(rectified, "classic"),
        sick("identity-times-3", rectified, "classic", ("exploding",), "Start at the identity.",
             model=lambda: Rectified(3.0), where=("", "rnn", "head")),
        elsewhere("view-for-transpose", rectified, "classic", "Transpose batch and time.", model=Swapped),
        healthy(rows, "classic"),
        sick("state-by-data", rows, "classic", ("severed",), "Keep the state in the graph.",
             model=lambda: Forgetful(keep=False), where=("", "conv"), causes=("other", "truncation")),
        elsewhere("padding-read", rows, "classic", "Cut the padding, not the digits.",
                  train_step=step_on(F.cross_entropy, last_rows_only)),
    ]  # fmt: skip


def _spelling() -> list[Stranger]:
    reader = Program(name="ctc-reader", steps=250, model=Reader, batches=strips, loss=ctc,
                     optimizer=lambda p: torch.optim.Adam(p, lr=1e-2), skill=read_out, places=())  # fmt: skip
    speller = classify("speller", Translator, reordered, loss=cross, lr=1e-2, steps=300)
    tags = classify("tagger", Tagger, neighbours, loss=cross, lr=1e-2, steps=300)
    return [
        healthy(reader, "classic"),
        elsewhere("blank-elsewhere", reader, "classic", "Use the same blank for loss and reading.", loss=ctc_blank_4),
        healthy(speller, "classic"),
        elsewhere("teacher-does-not-lag", speller, "classic", "Let the teacher's symbols lag by one.",
                  train_step=step_on(cross, not_lagging)),
        healthy(tags, "classic"),
        sick("rounded-states", tags, "classic", ("severed",), "Leave the states unrounded.", model=ForwardTagger,
             where=("", "rnn", "embed"), causes=("other",)),
        elsewhere("ignored-class", tags, "classic", "Ignore an index that is no class.", loss=ignoring_ones),
    ]  # fmt: skip
