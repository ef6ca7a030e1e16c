"""Text: Python's own help, character by character, and a small transformer that reads it."""

import functools
import pydoc_data.topics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
WIDTH, LENGTH, ROWS, HEADS = 64, 64, 8, 4
RATE, WARMUP = 1e-3, 30


@functools.cache
def characters() -> tuple[Tensor, int]:
    """All characters of Python's help topics as numbers, and how many kinds there are."""
    topics = pydoc_data.topics.topics
    text = "\n".join(topics[key] for key in sorted(topics))
    code = {symbol: n for n, symbol in enumerate(sorted(set(text)))}
    return torch.tensor([code[symbol] for symbol in text]), len(code)


def batch(draw: torch.Generator, *, rows: int = ROWS, held_out: bool = False) -> Batch:
    """Rows of text and the character that follows each; the last tenth of the text is held out."""
    ids, _ = characters()
    cut = int(0.9 * len(ids))
    low, high = (cut, len(ids) - LENGTH - 1) if held_out else (0, cut - LENGTH - 1)
    at = torch.randint(low, high, (rows, 1), generator=draw) + torch.arange(LENGTH + 1)
    return ids[at][:, :-1], ids[at][:, 1:]


def new_text(rows: int = 16, count: int = 4) -> list[Batch]:
    """Held-out rows, the same for every network."""
    draw = torch.Generator().manual_seed(9)
    return [batch(draw, rows=rows, held_out=True) for _ in range(count)]


def nats(out: Tensor, y: Tensor) -> Tensor:
    """Loss a character."""
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


class Attend(nn.Module):
    """Causal attention behind its norm, whose output is multiplied by `scale`.

    Args:
        qk_norm: Queries and keys are brought to a root mean square of 1.
    """

    def __init__(self, scale: float, qk_norm: bool) -> None:
        super().__init__()
        self.scale, self.qk_norm = scale, qk_norm
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.scale * self.norm(x)
        q, k, v = (part(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        if self.qk_norm:
            q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Think(nn.Module):
    """Two linear layers with a ReLU between them, behind their norm."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.relu(self.up(self.scale * self.norm(x))))
        return out


class Branches(nn.Module):
    """f of x + f(x): all that one block of a transformer adds to the stream."""

    def __init__(self, scale: float, qk_norm: bool) -> None:
        super().__init__()
        self.attend, self.think = Attend(scale, qk_norm), Think(scale)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attend(x)
        out: Tensor = attended + self.think(x + attended)
        return out


class Block(nn.Module):
    """A block with one addition, so that it has one share; it computes what the usual two additions do."""

    def __init__(self, scale: float, qk_norm: bool) -> None:
        super().__init__()
        self.branches = Branches(scale, qk_norm)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branches(x)
        return out


class Reader(nn.Module):
    """A causal language model over characters: Pre-LN, variance-preserving weights, zero biases.

    Args:
        scaled: LayerNorm Scaling: the output of both norms of block l is multiplied by 1 / sqrt(l).
        sharp: The logits of all attentions start this many times as large.
    """

    def __init__(self, depth: int, *, scaled: bool = False, qk_norm: bool = False, sharp: float = 1.0) -> None:
        super().__init__()
        kinds = characters()[1]
        self.symbol, self.place = nn.Embedding(kinds, WIDTH), nn.Embedding(LENGTH, WIDTH)
        scales = [n**-0.5 if scaled else 1.0 for n in range(1, depth + 1)]
        self.blocks = nn.Sequential(*(Block(scale, qk_norm) for scale in scales))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, kinds, bias=False)
        gains = {"down": 2**0.5, "query": sharp**0.5, "key": sharp**0.5}
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.7)
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=gains.get(name.split(".")[-1], 1.0) * module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, ids: Tensor) -> Tensor:
        stream = self.symbol(ids) + self.place.weight[: ids.shape[1]]
        out: Tensor = self.head(self.norm(self.blocks(stream)))
        return out


def learn(model: Reader, *, steps: int, seed: int) -> None:
    """AdamW with a short warm-up and clipped gradients."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP)
        x, y = batch(draw)
        optimizer.zero_grad()
        nats(model(x), y).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def loss_on(model: Reader, rows: list[Batch]) -> float:
    """Mean loss on these rows, nats a character."""
    return sum(float(nats(model(x), y)) for x, y in rows) / len(rows)
