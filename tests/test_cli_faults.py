"""Whose fault it is, by exit code; what a user's program prints; pipes, disks and terminals that misbehave."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

NET = """
import sys, time
import torch
from torch import nn

print("hello from the import")

def net():
    print("hello from the factory")
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def exits():
    sys.exit(1)

class Exits(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(64, 10)

    def forward(self, x):
        print("hello from the forward")
        sys.exit(1)

def exits_in_forward():
    return Exits()

class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(64, 10)

    def forward(self, x):
        raise RuntimeError("\\x1b]0;owned\\x07 bad \\x1b[31mred")

def hostile():
    return Hostile()

def ours():
    import fadeout.exams
    def broken(*args, **kwargs):
        raise RuntimeError("a slip of ours")
    fadeout.exams.diagnose = broken
    return net()

def slow():
    print("started", file=sys.stderr, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "net.py"
    path.write_text(NET)
    return path


def run(*arguments: object, cwd: Path | None = None, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fadeout", *map(str, arguments)],
        capture_output="stdout" not in options, text=True, cwd=cwd, check=False, timeout=240, **options,
    )  # fmt: skip


def test_what_a_program_prints_does_not_mix_with_json(net: Path) -> None:
    done = run("examine", f"{net}:net", "--data", "digits", "--json")
    assert json.loads(done.stdout)["verdict"] == "flows"
    assert "hello from the import" in done.stderr and "hello from the factory" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("factory", ["exits", "exits_in_forward", "hostile"])
def test_a_program_that_fails_or_exits_is_the_models_fault(net: Path, factory: str) -> None:
    done = run("examine", f"{net}:{factory}", "--data", "digits")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr and "\x07" not in done.stderr
    assert "net.py:" in done.stderr


def test_a_slip_of_ours_says_so_and_leaves_the_traceback_in_a_file(net: Path, tmp_path: Path) -> None:
    done = run("examine", f"{net}:ours", "--data", "digits", cwd=tmp_path)
    assert done.returncode == 70
    assert "a fault of fadeout" in done.stderr and "Traceback" not in done.stderr
    told = [word.strip(".,;'") for word in done.stderr.split() if word.strip(".,;'").endswith((".txt", ".log"))]
    assert told and "a slip of ours" in Path(tmp_path, told[0]).read_text()


def test_a_pipe_that_closes_early_is_no_error(net: Path, tmp_path: Path) -> None:
    saved = tmp_path / "exam.json"
    assert run("examine", f"{net}:net", "--data", "digits", "--save", saved).returncode == 0
    shell = f"{sys.executable} -m fadeout examine {saved} --json | head -c 20; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr and "Error" not in done.stderr
    assert done.stdout.endswith("0\n") or done.stdout.endswith("141\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(net: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run("examine", f"{net}:net", "--data", "digits", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "No space left" in done.stderr


def test_a_ctrl_c_ends_with_130(net: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "examine", f"{net}:slow", "--data", "digits"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "started" not in process.stderr.readline():
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.parametrize("verb", ["save", "html"])
def test_files_keep_mode_and_links_and_pipes_stay_pipes(net: Path, tmp_path: Path, verb: str) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_text("before")
    real.chmod(0o640)
    link.symlink_to(real)
    assert run("examine", f"{net}:net", "--data", "digits", f"--{verb}", link).returncode == 0
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    assert real.read_text() != "before"
    os.mkfifo(pipe)
    copied = tmp_path / "copied"
    with copied.open("w") as file:
        reader = subprocess.Popen(["cat", str(pipe)], stdout=file)
    assert run("examine", f"{net}:net", "--data", "digits", f"--{verb}", pipe).returncode == 0
    reader.wait(timeout=30)
    assert len(copied.read_text()) > 500 and pipe.is_fifo()
    assert not list(tmp_path.glob(".*part"))


def test_a_folder_that_cannot_be_written_is_said_and_the_old_file_stays(net: Path, tmp_path: Path) -> None:
    done = run("examine", f"{net}:net", "--data", "digits", "--save", tmp_path / "missing" / "exam.json")
    assert done.returncode == 2 and "can't write" in done.stderr
