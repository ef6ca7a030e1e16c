"""The pictures of the docs, drawn from real runs.

python docs/pictures.py        writes docs/examine.svg and docs/phase-tanh.png
"""

import io
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn

import fadeout
from fadeout import data, outlook
from fadeout.render.terminal import report
from fadeout.render.theory import write_diagram

HERE = Path(__file__).parent


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(64, 64), nn.Sigmoid())), nn.Linear(64, 10))
    batch = data.digits(model, rows=256, verb="pictures")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    exam = fadeout.examine(model, batch, loss=F.cross_entropy, optimizer=optimizer)
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(report(exam))
    drawn = console.export_svg(title="fadeout examine net.py:build --data digits --optimizer adam")
    drawn = re.sub(r"@font-face\s*{[^}]*}", "", drawn)  # no fonts from the network
    (HERE / "examine.svg").write_text(drawn, encoding="utf-8")
    diagram = outlook.diagram(torch.tanh, name="tanh")
    write_diagram(diagram, HERE / "phase-tanh.png", point=(1.5, 0.05))


if __name__ == "__main__":
    main()
