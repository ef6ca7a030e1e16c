"""The display of a race that runs: its arms, who leads, how long is left."""

import math
import time

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from fadeout.records import Board, Lane
from fadeout.render import words
from fadeout.render.layout import cell

MOST = 16  # arms on the display
BAR = 20  # columns
RANDOM = " (drawn at random)"
STYLES = {"failed": "red", "stopped": "dim", "running": "bold", "done": "bold", "waiting": "dim"}


class RaceDisplay:
    """A context manager; `update` takes every new board.

    In a terminal the arms are redrawn in place. Where output goes to a file, each stage is one line.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.board: Board | None = None
        self.at = time.monotonic()
        self._stage = ""
        self._live = Live(self, console=self.console, refresh_per_second=4, transient=True) if self._alive() else None

    def _alive(self) -> bool:
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def __enter__(self) -> "RaceDisplay":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, board: Board) -> None:
        """Show a board."""
        self.board, self.at = board, time.monotonic()
        if self._live is None and board.stage != self._stage:
            self._stage = board.stage
            self.console.print(f"race: {board.stage}{_left(board, 0)}", highlight=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.board is not None:
            yield drawn(self.board, options.max_width, time.monotonic() - self.at, ascii_only=options.ascii_only)


def drawn(board: Board, width: int, passed: float = 0.0, *, ascii_only: bool = False) -> Group:
    """One board.

    Args:
        passed: Seconds since it was made, by which the time left has become shorter.
    """
    share = board.done / board.total if board.total else 0.0
    lines = [Text(f"  {board.stage}  {100 * share:.0f} %{_left(board, passed)}", style="bold"), Text()]
    order = sorted(board.lanes, key=_place)
    shown = order[:MOST]
    first = max((len(lane.title) + len(RANDOM) * (lane.role == "random") for lane in shown), default=0)
    first = max(10, min(first, width - BAR - 34))
    leader = next((lane for lane in order if lane.role != "control" and math.isfinite(lane.skill)), None)
    for lane in shown:
        lines.append(_line(lane, first, leads=lane is leader, ascii_only=ascii_only))
    if len(order) > MOST:
        lines.append(Text(f"    and {len(order) - MOST} more", style="dim"))
    return Group(*lines)


def _place(lane: Lane) -> tuple[float, ...]:
    lost = {"failed": 2, "stopped": 1}.get(lane.state, 0)
    return (lane.role != "control", lost, -lane.skill if math.isfinite(lane.skill) else math.inf)


def _line(lane: Lane, first: int, *, leads: bool, ascii_only: bool) -> Text:
    full = round(BAR * min(1.0, lane.steps / lane.of)) if lane.of else 0
    bar = ("=" if ascii_only else "█") * full + ("." if ascii_only else "░") * (BAR - full)
    skill = f"{lane.skill:5.2f}" if math.isfinite(lane.skill) and lane.state != "failed" else "     "
    said = "leads" if leads else "failed" if lane.state == "failed" else "stopped" if lane.state == "stopped" else ""
    title = words.clip(words.plain(lane.title) + (RANDOM if lane.role == "random" else ""), first)
    line = Text(f"    {cell(title, first)}  {bar} {skill}  {said}", no_wrap=True, overflow="crop")
    line.stylize("bold green" if leads else STYLES[lane.state], 4, 4 + first)
    return line


def _left(board: Board, passed: float) -> str:
    left = board.left - passed
    if not math.isfinite(board.left) or board.left <= 0:
        return ""
    if left < 1:
        return ", nearly done"
    minutes, seconds = divmod(round(left), 60)
    return f", about {minutes} min {seconds:02d} s left" if minutes else f", about {seconds} s left"
