"""DyT: a tanh in the place of a norm passes the gradient through few units when the stream is wide."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.lab.experiment import Expectation, Found, Published, Task, grid
from fadeout.lab.today_part import NAME, Part
from fadeout.records import Figure, Row, Size, Table

DYT, NORM = "DyT, a tanh", "layer normalisation"
ALPHA = 0.5  # DyT's usual start
SLOPE = 0.01  # of the largest slope: a unit above it is live
WIDTH, ROWS = 256, 128
WIDTHS: tuple[float, ...] = (1, 3, 10, 30, 100)
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (DYT, NORM), SEEDS[size])


class DyT(nn.Module):
    """tanh(alpha x), Zhu et al. 2025."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(ALPHA))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alpha * x)


def measure(task: Task) -> Iterator[Row]:
    for width in WIDTHS:
        stem, head = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 10)
        nn.init.normal_(stem.weight, std=width / math.sqrt(WIDTH))
        model = nn.Sequential(stem, DyT() if task.arm == DYT else nn.LayerNorm(WIDTH, elementwise_affine=False), head)
        batch = torch.randn(ROWS, WIDTH), torch.randint(0, 10, (ROWS,))
        reading = fadeout.read(model, batch, loss=F.cross_entropy)
        gain = sum(edge.log_gain for edge in reading.ledger.trunk.entries if edge.path == "1")

        def row(quantity: str, value: float, x: float = width) -> Row:
            return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=x)

        yield row("gain of the norm's place", gain)
        if task.arm == DYT:
            ((_, live),) = reading.live
            yield row("live units", live)
            yield row("live units in theory", live_in_theory(width))
        else:
            yield row("live units", 1.0)


def live_in_theory(width: float) -> float:
    """Share of N(0, width^2) where the slope 1 / cosh^2(alpha x) is above SLOPE."""
    return math.erf(math.acosh(SLOPE**-0.5) / (ALPHA * width * math.sqrt(2)))


def few_live(table: Table) -> Found:
    found = [(x, *(table.mean(q, DYT, x) for q in ("live units", "live units in theory"))) for x in WIDTHS]
    said = ", ".join(f"{100 * a:.0f} % at {x:g} (theory {100 * b:.0f} %)" for x, a, b in found)
    return Found(
        held=all(abs(a - b) < 0.02 for _, a, b in found), measured=f"Live units by the stream's width: {said}."
    )


def falls_slower(table: Table) -> Found:
    gain = {arm: table.of("gain of the norm's place", arm, WIDTHS[-1]) for arm in (DYT, NORM)}
    return Found(
        held=gain[DYT].low > gain[NORM].high + 0.5 and table.mean("live units", DYT, WIDTHS[-1]) < 0.1,
        measured=f"At a width of {WIDTHS[-1]:g} DyT changes the gradient's norm by {gain[DYT].mean:+.2f} decades, "
        f"layer normalisation by {gain[NORM].mean:+.2f}; {100 * table.mean('live units', DYT, WIDTHS[-1]):.0f} % of "
        "DyT's units are live.",
    )


PART = Part(
    arms=(DYT, NORM),
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="DyT: the share of live units falls with the stream's width as the normal distribution says, to "
            "within 2 points.",
            check=few_live,
            needs="smoke",
        ),
        Expectation(
            says="DyT: at a stream of width 100 it passes more than half a decade more of the gradient's norm than "
            "layer normalisation, through fewer than a tenth of its units.",
            check=falls_slower,
            needs="smoke",
        ),
    ),
    published=(
        Published(
            source="Zhu et al. 2025, 2503.10622, and 2604.23434 (abstracts)",
            what="DyT in the place of every norm",
            theirs="as good as the norm with alpha = 0.5; later work: 23 to 49 % of the values are saturated, which "
            "helps with little data and harms with much",
            ours=lambda table: f"{100 * (1 - table.mean('live units', DYT, 10.0)):.0f} % not live at a width of 10",
            differs="theirs are trained language and vision models, whose alpha is learned; ours is one layer at the "
            "start",
        ),
    ),
    figures=(
        Figure(
            title="Units of a DyT that pass a gradient",
            quantity="live units",
            theory="live units in theory",
            x="width of the stream (deviation of its values)",
            y="live units",
            x_log=True,
            percent=True,
            low=0.0,
            high=1.0,
            arms=(DYT, NORM),
            caption="A tanh is flat where its input is large. The wider the stream, the fewer units lie on the slope. "
            "A norm first brings the stream back to width 1.",
        ),
    ),
)
