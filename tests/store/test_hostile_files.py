"""Files that are no exams, or were changed: refused with one sentence, or shown without harm."""

import copy
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn

import fadeout
from fadeout.render import terminal
from fadeout.render.page import document
from fadeout.store.contract import from_dict, from_json, to_dict, to_json
from fadeout.store.files import load

X, Y = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(9, 8), nn.LSTM(8, 8, batch_first=True)
        self.mix, self.out = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.mix(self.rnn(self.embed(x))[0]))
        return found


def exams() -> Iterator[fadeout.Exam]:
    torch.manual_seed(0)
    deep = nn.Sequential(*(m for _ in range(9) for m in (nn.Linear(8, 8), nn.Sigmoid())), nn.Linear(8, 3))
    yield fadeout.examine(deep, (X, Y), loss=F.cross_entropy, optimizer=torch.optim.Adam(deep.parameters()))
    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    adam = torch.optim.Adam(plain.parameters())
    yield fadeout.examine(plain, [(X, Y)], loss=F.cross_entropy, optimizer=adam, steps=12)
    tokens = torch.randint(0, 9, (4, 12)), None
    yield fadeout.examine(Sequences(), tokens, loss=lambda o, y: o.square().mean(), reach=3)
    nn.init.constant_(plain[0].bias, -1e3)
    yield fadeout.examine(plain, (X, Y), loss=F.cross_entropy)


@pytest.fixture(scope="module")
def originals() -> list[dict[str, Any]]:
    return [json.loads(to_json(exam)) for exam in exams()]


VALUES: list[Any] = [
    None, True, 0, -1, 1e308, float("inf"), 10**30, 1 << 63, 1 << 64, "", "x", "\x1b[31mred", "a" * 5000,
    "[bold]x[/bold]", "</script><script>", [], {}, [1], {"a": 1}, "flows", "\ud800", -0.0, [[]], "\n\n",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def changed(original: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    found = copy.deepcopy(original)
    for _ in range(draw.choice([1, 1, 2, 5])):
        path = draw.choice(list(places(found)))
        inside: Any = found
        for key in path[:-1]:
            inside = inside[key]
        how = draw.random()
        if how < 0.7:
            inside[path[-1]] = copy.deepcopy(draw.choice(VALUES))
        elif how < 0.85:
            del inside[path[-1]]
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[path[-1]]))
        else:
            inside["extra"] = draw.choice(VALUES)
    return found


def loaded_or_refused(data: dict[str, Any]) -> tuple[fadeout.Exam | None, str]:
    try:
        return from_dict(data), ""
    except fadeout.FadeoutError as error:
        return None, str(error)


def shown(exam: fadeout.Exam, other: fadeout.Exam) -> list[Callable[[], object]]:
    return [
        lambda: str(exam),
        lambda: Console(file=io.StringIO(), width=80).print(terminal.report(exam, findings=99, verbose=True)),
        lambda: document.page(exam),
        lambda: str(fadeout.compare(other, exam)),
        lambda: to_json(exam),
        lambda: exam._repr_html_(),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_exam_is_refused_or_shown_and_nothing_breaks(originals: list[dict[str, Any]], seed: int) -> None:
    draw = random.Random(seed)
    good = from_dict(originals[1])
    loaded = 0
    for _ in range(60):
        exam, refusal = loaded_or_refused(changed(draw.choice(originals), draw))
        assert "\n" not in refusal and len(refusal) < 500
        loaded += exam is not None
        for show in shown(exam, good) if exam is not None else ():
            text = show()
            assert not isinstance(text, str) or "\x1b[31mred" not in text
    assert loaded  # some changes are harmless


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", "null", "[" * 100_000, '{"schema":' * 5000, "1" * 10_000, "\x00", "NaN", '{"schema":"x"}'],
)
def test_what_is_no_exam_is_refused(text: str) -> None:
    with pytest.raises(fadeout.FadeoutError) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_binary_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "exam.json"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(fadeout.FadeoutError):
        load(path)


@pytest.mark.parametrize("seed", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_every_seed_of_torch_survives_the_round_trip(originals: list[dict[str, Any]], seed: int) -> None:
    given = copy.deepcopy(originals[0])
    given["environment"]["seed"] = seed
    assert to_dict(from_dict(given))["environment"]["seed"] == seed
