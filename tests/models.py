"""Models a user would bring: fixed, named, small, drawn from seed 0, float32.

Where the loss is a function of output and target they come as a `Case`; where a step is more than that
(adversarial training, a penalty on a gradient) as a `StepCase` whose `step(model)` gives the scalar.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strategies import Case, build, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCase:
    """A model and a closure from the model to the scalar; `leaves` are the float inputs it reads."""

    name: str
    model: nn.Module
    step: Callable[[nn.Module], Tensor]
    leaves: tuple[Tensor, ...]


def run_step(case: StepCase) -> Tensor:
    """The scalar of one step, with the inputs made to require a gradient; they keep it, so run it last."""
    for leaf in case.leaves:
        leaf.requires_grad_()
    return case.step(case.model)


def conv_block(c_in: int, c_out: int) -> nn.Sequential:
    """3 x 3 convolution, batch norm, in-place ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Three levels, max pooling down, nearest and transposed convolution up."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([conv_block(1, 4), conv_block(4, 8), conv_block(8, 16)])
        self.rise = nn.ModuleList(
            [
                nn.ConvTranspose2d(16, 8, 2, stride=2),
                nn.Sequential(nn.Upsample(scale_factor=2), conv_block(8, 4)),
            ]
        )
        self.up = nn.ModuleList([conv_block(16, 8), conv_block(8, 4)])
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        fine = self.down[0](x)
        middle = self.down[1](F.max_pool2d(fine, 2))
        coarse = self.down[2](F.max_pool2d(middle, 2))
        middle = self.up[0](torch.cat([self.rise[0](coarse), middle], dim=1))
        return self.head(self.up[1](torch.cat([self.rise[1](middle), fine], dim=1)))


class DenseNet(nn.Module):
    """Convolutions that read all earlier ones, a transition in between."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleList(conv_block(3 + 4 * i, 4) for i in range(4))
        self.transition = conv_block(19, 8)
        self.second = nn.ModuleList(conv_block(8 + 4 * i, 4) for i in range(4))
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        for layer in self.first:
            x = torch.cat([x, layer(x)], dim=1)
        x = F.avg_pool2d(self.transition(x), 2)
        for layer in self.second:
            x = torch.cat([x, layer(x)], dim=1)
        return self.head(x.mean((2, 3)))


class MixtureOfExperts(nn.Module):
    """Top-2 of several experts for each row; the last `idle` experts are never chosen."""

    def __init__(self, width: int, experts: int, idle: int):
        super().__init__()
        self.read, self.router = nn.Linear(width, width), nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(experts)
        )
        self.head = nn.Linear(width, 4)
        with torch.no_grad():
            self.router.bias[experts - idle :] = -1e4

    def forward(self, x):
        h = torch.tanh(self.read(x))
        weights, chosen = self.router(h).topk(2, dim=-1)
        weights = weights.softmax(-1)
        mixed = h
        for i, expert in enumerate(self.experts):
            row, rank = torch.where(chosen == i)
            if len(row):
                mixed = mixed.index_add(0, row, weights[row, rank, None] * expert(h[row]))
        return self.head(mixed)


class LSTMTagger(nn.Module):
    """Embedding, fused bidirectional LSTM, a tag for each token."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, tokens):
        return self.head(self.lstm(self.embed(tokens))[0])


class ResNet(nn.Module):
    """Three stages of basic blocks, the later two halving the image."""

    def __init__(self):
        super().__init__()
        self.stem = conv_block(3, 4)
        self.blocks = nn.Sequential(BasicBlock(4, 4, 1), BasicBlock(4, 8, 2), BasicBlock(8, 8, 1), BasicBlock(8, 8, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1).flatten(1))


class BasicBlock(nn.Module):
    """Two convolutions beside a skip that is projected where the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.one = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm_one, self.norm_two = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        same = stride == 1 and c_in == c_out
        self.skip = nn.Identity() if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x):
        h = F.relu(self.norm_one(self.one(x)), inplace=True)
        h = self.norm_two(self.two(h))
        h += self.skip(x)
        return F.relu(h, inplace=True)


def pixelwise(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of every position; classes stand in dimension 1."""
    return F.cross_entropy(output, y)


def tokenwise(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of every token; classes stand last."""
    return F.cross_entropy(output.flatten(0, 1), y.flatten())


def u_net() -> Case:
    """Segmentation of 8 x 8 images."""
    make = lambda: (UNet(), torch.randn(4, 1, 8, 8), torch.randint(2, (4, 8, 8)))  # noqa: E731
    return build("u_net", 0, torch.float32, make, pixelwise)


def dense_net() -> Case:
    """Classification of 8 x 8 images."""
    make = lambda: (DenseNet(), torch.randn(6, 3, 8, 8), labels(6, 5))  # noqa: E731
    return build("dense_net", 0, torch.float32, make, F.cross_entropy)


def mixture_of_experts(*, experts: int = 6, idle: int = 2) -> Case:
    """16 rows, top-2 routing; the last `idle` of the experts get no row and so no gradient (None)."""
    make = lambda: (MixtureOfExperts(6, experts, idle), torch.randn(16, 6), labels(16, 4))  # noqa: E731
    return build(f"mixture_of_experts {experts} idle {idle}", 0, torch.float32, make, F.cross_entropy)


def lstm_tagger() -> Case:
    """4 sentences of 7 tokens."""
    make = lambda: (LSTMTagger(), torch.randint(20, (4, 7)), torch.randint(5, (4, 7)))  # noqa: E731
    return build("lstm_tagger", 0, torch.float32, make, tokenwise)


def small_resnet() -> Case:
    """Classification of 8 x 8 images."""
    make = lambda: (ResNet(), torch.randn(6, 3, 8, 8), labels(6, 5))  # noqa: E731
    return build("small_resnet", 0, torch.float32, make, F.cross_entropy)


def generator_and_critic() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Both nets, a noise batch (8, 4) and a real batch (8, 2)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Linear(16, 2))
        critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
        return generator, critic, torch.randn(8, 4), torch.randn(8, 2)


def gan() -> tuple[StepCase, StepCase]:
    """The generator's step, whose gradient goes through the discriminator, and the discriminator's step."""
    generator, critic, noise, real = generator_and_critic()

    def generator_step(model: nn.Module) -> Tensor:
        return F.softplus(-critic(model(noise))).mean()

    def discriminator_step(model: nn.Module) -> Tensor:
        fake = generator(noise).detach()
        return F.softplus(-model(real)).mean() + F.softplus(model(fake)).mean()

    return (
        StepCase(name="gan, generator", model=generator, step=generator_step, leaves=(noise,)),
        StepCase(name="gan, discriminator", model=critic, step=discriminator_step, leaves=(real,)),
    )


def gradient_penalty() -> StepCase:
    """A Wasserstein critic's step with a penalty on the gradient's norm: backward through backward.

    The points between real and fake are a leaf that the step itself makes: a second data end.
    """
    generator, critic, noise, real = generator_and_critic()

    def step(model: nn.Module) -> Tensor:
        fake = generator(noise).detach()
        between = (0.3 * real + 0.7 * fake).detach().requires_grad_()
        (slope,) = torch.autograd.grad(model(between).sum(), between, create_graph=True)
        return model(fake).mean() - model(real).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()

    return StepCase(name="gradient_penalty", model=critic, step=step, leaves=(real,))


CASES = (u_net, dense_net, mixture_of_experts, lstm_tagger, small_resnet)
