"""Runs on disk: extremes survive thinning, long runs stay small, readers may come at any time, bad files are told."""

import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadeout.errors import FadeoutError
from fadeout.records import Noticed, Samples
from fadeout.store import runs as store
from fadeout.store.runs import LAYOUT, Runs, blob, joined, new_store, summed, values_of

NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def opened(path, names=("a", "b")):
    found = Runs(path)
    return found, found.track("0:1", "Net", "Adam lr 0.001", names, sharded=False)


@given(st.lists(NUMBERS, max_size=20))
def test_a_blob_gives_back_what_it_holds(values):
    found = values_of(blob(values))
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(found, values, strict=True))


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.lists(NUMBERS, min_size=1, max_size=5))
def test_joined_bins_hold_every_extreme(a, b):
    low, high = (values_of(part) for part in joined((1, 1, blob(a), None), (2, 2, blob(b), None)))
    for place in range(max(len(a), len(b))):
        known = [v for row in (a, b) if place < len(row) for v in row[place : place + 1] if not math.isnan(v)]
        if known:
            assert low[place] == min(known) and high[place] == max(known)
        else:
            assert math.isnan(low[place]) and math.isnan(high[place])


@settings(max_examples=10, deadline=None)
@given(st.integers(40, 400), st.integers(0, 10**6))
def test_thinning_keeps_every_extreme_and_covers_every_step(steps, seed):
    import random
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    draw = random.Random(seed)
    values = [[draw.gauss(0, 1) for _ in range(2)] for _ in range(steps)]
    with tempfile.TemporaryDirectory() as folder, patch.object(store, "BINS", 16):
        runs, track = opened(Path(folder) / "r.db")
        for start in range(0, steps, 7):
            chunk = range(start, min(steps, start + 7))
            runs.add(track, [("gradient", s + 1, s + 1, blob(values[s]), None) for s in chunk], steps=steps, skipped=0)
        samples = runs.read().tracks[0].of("gradient")
        runs.close()
    assert len(samples.first) <= 16 + 7
    assert samples.first[0] == 1 and samples.last[-1] == steps
    assert all(b == a + 1 for a, b in zip(samples.last[:-1], samples.first[1:], strict=True))
    for place in range(2):
        assert min(r[place] for r in samples.low) == pytest.approx(min(v[place] for v in values), rel=1e-6)
        assert max(r[place] for r in samples.high) == pytest.approx(max(v[place] for v in values), rel=1e-6)


@pytest.mark.slow
def test_a_thousand_layers_stay_small_however_long_the_run(tmp_path):
    """Thinning holds the number of bins, so size does not grow beyond it: measured well past the first join."""
    runs, track = opened(tmp_path / "r.db", [f"layer {i}" for i in range(1000)])
    row = blob([1.0] * 1000)
    sizes = []
    for start in range(0, 7000, 100):
        chunk = [("gradient", s, s, row, None) for s in range(start + 1, start + 101)]
        runs.add(track, chunk, steps=start + 100, skipped=0)
        sizes.append((tmp_path / "r.db").stat().st_size)
    runs.close()
    assert max(sizes) < 60e6 and sizes[-1] < 1.3 * max(sizes[25:35])


def test_a_reader_sees_a_run_that_is_being_written(tmp_path):
    writer, track = opened(tmp_path / "r.db")
    writer.tell("script", "train.py")
    writer.add(track, [("loss", 1, 1, blob([2.5]), None)], steps=1, skipped=0)
    writer.notice(track, Noticed(step=1, code="FO101", level="alarm", text="it fades"))
    reader = Runs(tmp_path / "r.db")
    run = reader.read()
    assert run.script == "train.py" and run.exit_code is None
    assert run.tracks[0].of("loss").low == ((2.5,),) and run.tracks[0].noticed[0].code == "FO101"
    writer.add(track, [("loss", 2, 2, blob([2.0]), None)], steps=2, skipped=0)
    assert reader.read().tracks[0].steps == 2


def test_parameters_that_come_later_have_no_numbers_before(tmp_path):
    runs, track = opened(tmp_path / "r.db", ["a"])
    runs.add(track, [("gradient", 1, 1, blob([1.0]), None)], steps=1, skipped=0)
    runs.rename(track, ["a", "b"], "SGD lr 0.1 + Adam lr 0.01")
    runs.add(track, [("gradient", 2, 2, blob([1.0, 2.0]), None)], steps=2, skipped=0)
    samples = runs.read().tracks[0].of("gradient")
    assert samples.names == ("a", "b") and [len(row) for row in samples.low] == [1, 2]


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    runs, track = opened(tmp_path / "r.db")
    with pytest.raises(FadeoutError):
        runs.add(track, [("loss", 1, 1, blob([1.0]), None), ("loss", 2, 2, None, None)], steps=2, skipped=0)
    assert runs.read().tracks[0].steps == 0 and not runs.read().tracks[0].samples


@pytest.mark.parametrize("text", [b"no database", b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_is_none_is_told(tmp_path, text):
    (tmp_path / "r.db").write_bytes(text)
    with pytest.raises(FadeoutError, match=r"run: .*r\.db"):
        Runs(tmp_path / "r.db").read()


def test_a_file_of_another_program_or_a_newer_fadeout_is_told(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as base:
        base.execute("CREATE TABLE x (y)")
    with pytest.raises(FadeoutError, match="another program"):
        Runs(tmp_path / "other.db")
    opened(tmp_path / "new.db")[0].close()
    with sqlite3.connect(tmp_path / "new.db") as base:
        base.execute(f"PRAGMA user_version = {LAYOUT.version + 1}")
    with pytest.raises(FadeoutError, match="newer fadeout"):
        Runs(tmp_path / "new.db")


def test_names_of_one_second_differ(tmp_path):
    assert len({new_store(tmp_path, "train") for _ in range(4)}) == 4


def test_shards_that_were_sampled_at_different_steps_are_summed_where_they_agree():
    """Each process samples as often as its own time allows; those of two powers of two share the rarer one's steps."""

    def samples(every, values):
        steps = tuple(range(1, 9, every))
        rows = tuple((value,) for value in values[: len(steps)])
        return Samples(metric="gradient", names=("w",), first=steps, last=steps, low=rows, high=rows)

    (both,) = summed([(samples(1, (3.0,) * 8),), (samples(2, (4.0,) * 4),)])
    assert both.first == both.last == (1, 3, 5, 7)
    assert both.low == both.high == ((5.0,),) * 4
