"""Ctrl-C at any moment leaves no trace; two threads wait for one another or are refused."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as torch_module

import fadeout
from fingerprints import difference, fingerprint

X, Y = torch.randn(16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4


def net(act: type[nn.Module] = nn.ReLU, depth: int = 6) -> nn.Module:
    layers = [m for _ in range(depth) for m in (nn.Linear(16, 16), act())]
    return nn.Sequential(*layers, nn.BatchNorm1d(16), nn.Dropout(0.1), nn.Linear(16, 4))


@pytest.fixture
def python_handles_interrupts() -> Iterator[None]:
    """Test runners may have a handler of their own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(after: float, act: "callable[[], object]") -> bool:  # type: ignore[valid-type]
    """Whether an action ended by a Ctrl-C that came some seconds after its start."""
    process = os.getpid()
    timer = threading.Timer(after, lambda: os.kill(process, signal.SIGINT))
    try:
        timer.start()
        act()
        timer.join()
        time.sleep(0.05)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("kind", ["one step", "an alarm", "steps"])
def test_an_interrupt_at_any_moment_leaves_no_trace(kind: str, python_handles_interrupts: None) -> None:
    torch.manual_seed(0)
    model = net(nn.Sigmoid, 9) if kind == "an alarm" else net()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()

    def act() -> None:
        options = {"steps": 12} if kind == "steps" else {}
        batch = [(X, Y)] if kind == "steps" else (X, Y)
        fadeout.examine(model, batch, loss=F.cross_entropy, optimizer=optimizer, **options)

    act()
    start = time.perf_counter()
    act()
    length = time.perf_counter() - start
    draw = random.Random(0)
    hits = 0
    tables = [len(torch_module._global_forward_hooks), len(torch_module._global_forward_pre_hooks)]
    before = fingerprint(model, optimizer, X, Y)
    for _ in range(25):
        hits += interrupted(draw.random() * length, act)
        assert difference(before, fingerprint(model, optimizer, X, Y)) == ""
        assert [len(torch_module._global_forward_hooks), len(torch_module._global_forward_pre_hooks)] == tables
        assert torch.is_grad_enabled() and torch._C._len_torch_function_stack() == 0
    assert hits >= 3
    act()  # and the next one works


TRAINING = """
import sys, threading
import torch, fadeout
import torch.nn.functional as F
from torch import nn
model = nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 4))
x, y, optimizer = torch.randn(16, 16), torch.arange(16) % 4, torch.optim.Adam(model.parameters())
stop, steps, said = threading.Event(), [0], []

def train():
    while not stop.is_set():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        steps[0] += 1

def exams():
    for _ in range(8):
        try:
            fadeout.examine(model, (x, y), loss=F.cross_entropy, optimizer=optimizer)
            said.append("ok")
        except fadeout.FadeoutError as error:
            said.append(str(error))

other = threading.Thread(target=train if sys.argv[1] == "train" else exams)
other.start()
exams()
stop.set()
other.join()
print(len(said), sorted({s.split(":")[0] for s in said}), steps[0] > 0)
"""


@pytest.mark.parametrize("mode", ["train", "exams"])
def test_another_thread_waits_or_is_refused_and_nothing_crashes(mode: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", TRAINING, mode], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    count = 8 if mode == "train" else 16
    assert done.stdout.startswith(f"{count} [")
    assert "Traceback" not in done.stderr
    if mode == "exams":
        assert "['ok']" in done.stdout  # one after the other
