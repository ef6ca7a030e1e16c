"""Races on disk: what is finished is there, a killed race goes on, and a file that is none of ours is told."""

import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import race_cases as rc
from fadeout.errors import FadeoutError
from fadeout.records import Piece
from fadeout.store.races import Races

PIECE = Piece(
    arm="none", seed=1, stop=10, steps=10, losses=(1.0, float("nan"), float("inf")), curve=((0, 0.0), (10, 0.25)),
    decades=float("-inf"), seconds=0.5,
)  # fmt: skip


def test_a_piece_is_there_at_once_for_everybody(tmp_path):
    races = Races(tmp_path / "races.db")
    races.begin("key", {"case": "toy"})
    races.keep("key", PIECE)
    races.keep("key", PIECE)
    other = Races(tmp_path / "races.db")
    assert repr(other.pieces("key")) == repr({("none", 1, 10): PIECE})
    assert other.pieces("another key") == {}


def test_a_race_that_is_over_runs_nothing_again(tmp_path):
    def once():
        boards = []
        trial = rc.race(
            rc.case(steps=30), rc.ReluHe(), rc.Smaller(), seeds=(0,), store=tmp_path / "r.db", progress=boards.append
        )
        return trial, boards

    first, _ = once()
    before = Races(tmp_path / "r.db").pieces
    begun = time.perf_counter()
    second, _ = once()
    assert time.perf_counter() - begun < 1.0
    assert repr(second.to_dict()) == repr(first.to_dict()) and before


def test_another_program_under_the_same_name_is_another_race(tmp_path):
    first = rc.race(rc.case(steps=20), rc.ReluHe(), seeds=(0,), store=tmp_path / "r.db")
    second = rc.race(rc.healthy(steps=20), rc.ReluHe(), seeds=(0,), store=tmp_path / "r.db")
    assert first.arm("none").skill.mean < 0.2 < second.arm("none").skill.mean


KILLED = """
import os, signal, sys
import race_cases as rc

def stop(board):
    if board.stage.startswith("the best") and board.done > 30:
        os.kill(os.getpid(), signal.SIGKILL)

rc.race(rc.case(steps=60), rc.ReluHe(), rc.Smaller(), seeds=(0, 1), store=sys.argv[1], progress=stop)
"""


def test_a_race_that_was_killed_goes_on_where_it_was(tmp_path):
    path = tmp_path / "killed.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, env=_environment())
    assert done.returncode == -signal.SIGKILL
    with sqlite3.connect(path) as base:
        there = base.execute("SELECT count(*) FROM piece").fetchone()[0]
    assert there >= 6
    ran = []
    resumed = rc.race(
        rc.case(steps=60), rc.ReluHe(), rc.Smaller(), seeds=(0, 1), store=path, progress=lambda b: ran.append(b.done)
    )
    fresh = rc.race(rc.case(steps=60), rc.ReluHe(), rc.Smaller(), seeds=(0, 1))
    assert [(a.treatment, a.state, a.skill, a.loss, a.curve) for a in resumed.arms] == [
        (a.treatment, a.state, a.skill, a.loss, a.curve) for a in fresh.arms
    ]
    assert resumed.winner == fresh.winner == "relu-he"


def _environment():
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def test_files_that_are_not_ours_are_told_and_left_as_they_are(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all, but long enough to have a header" * 20)
    with pytest.raises(FadeoutError, match="damaged or no file of races"):
        Races(text)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as base:
        base.execute("CREATE TABLE people (name TEXT)")
    content = foreign.read_bytes()
    with pytest.raises(FadeoutError, match="another program"):
        Races(foreign)
    assert foreign.read_bytes() == content
    newer = tmp_path / "newer.db"
    Races(newer).close()
    with sqlite3.connect(newer) as base:
        base.execute("PRAGMA user_version = 99")
    with pytest.raises(FadeoutError, match="newer fadeout"):
        Races(newer)
    with pytest.raises(FadeoutError, match="check the folder"):
        Races(tmp_path / "nowhere" / "races.db")


def test_a_damaged_piece_is_told(tmp_path):
    races = Races(tmp_path / "races.db")
    races.begin("key", {})
    races.keep("key", PIECE)
    with sqlite3.connect(tmp_path / "races.db") as base:
        base.execute("UPDATE piece SET piece = '{\"arm\": 3'")
    with pytest.raises(FadeoutError, match="damaged"):
        races.pieces("key")
