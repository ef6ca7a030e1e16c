"""The pictures of README and docs, drawn from real runs.

python docs/pictures.py        writes every picture anew: docs/*.svg, docs/*.png, docs/findings/*.svg
"""

import io
import re
import subprocess
import sys
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
    (HERE / "examine.svg").write_text(examine(), encoding="utf-8")
    diagram = outlook.diagram(torch.tanh, name="tanh")
    write_diagram(diagram, HERE / "phase-tanh.png", point=(1.5, 0.05))
    subprocess.run([sys.executable, HERE / "findings" / "pictures.py"], check=True)


def examine() -> str:
    """The report of the sick network of the README, as its terminal shows it."""
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(64, 64), nn.Sigmoid())), nn.Linear(64, 10))
    batch = data.digits(model, rows=256, verb="pictures")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):  # the first time is that of imports
        exam = fadeout.examine(model, batch, loss=F.cross_entropy, optimizer=optimizer)
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(report(exam))
    drawn = console.export_svg(title="fadeout examine net.py:build --data digits --optimizer adam", unique_id="examine")
    return re.sub(r"@font-face\s*{[^}]*}", "", drawn)  # no fonts from the network


if __name__ == "__main__":
    main()
