"""The lab as a machine: the same rows on every engine, nothing measured twice, nothing lost, bad input told."""

import hashlib
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fadeout.errors import FadeoutError
from fadeout.lab import EXPERIMENTS, code, data, named, product, running
from fadeout.lab.experiment import SIZES, Expectation, Experiment, Found, Task, grid
from fadeout.lab.results import to_dict, write
from fadeout.records import Figure, Outcome, Row, Table, verdict_of

TOY = "toy"


def toy(measure, *, seeds=3, check=lambda table: Found(held=True, measured="fine")) -> Experiment:
    """An experiment of tasks that take no time."""
    return replace(
        product.EXPERIMENT, name=TOY, measure=measure,
        tasks=lambda size: grid(TOY, size, ("a", "b"), range(seeds)),
        expectations=(Expectation(says="It is fine.", check=check, needs="smoke"),), published=(),
        figures=(Figure(title="Toy", quantity="value"),), seconds=dict.fromkeys(SIZES, 1.0),
    )  # fmt: skip


def drawn(task: Task):
    yield Row(quantity="value", arm=task.arm, value=float(torch.rand(())), seed=task.seed)


@pytest.fixture
def known(monkeypatch):
    """Make the bench in this process find an experiment that the lab doesn't have."""

    def add(experiment):
        monkeypatch.setattr("fadeout.lab.bench.named", lambda name: experiment if name == TOY else named(name))
        return experiment

    return add


@pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_every_engine_gives_the_same_rows(tmp_path, engine, monkeypatch):
    if engine == "ray":
        pytest.importorskip("ray")
        monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    (here,) = running.run([named("product")], size="smoke", engine="here", folder=tmp_path / "here")
    (there,) = running.run([named("product")], size="smoke", engine=engine, folder=tmp_path / engine)
    assert here.verdict == "reproduced" and here.table.rows
    assert repr(here.table) == repr(there.table)


def test_what_is_kept_is_not_measured_again(tmp_path, known):
    calls = []

    def measure(task):
        calls.append(task)
        return drawn(task)

    first = running.run([known(toy(measure))], engine="here", folder=tmp_path)
    second = running.run([known(toy(measure))], engine="here", folder=tmp_path)
    assert len(calls) == 6 and repr(first) == repr(second)
    running.run([known(toy(measure))], engine="here", folder=tmp_path, fresh=True)
    assert len(calls) == 12


def test_other_code_is_another_measurement_and_old_results_are_told(tmp_path, known, monkeypatch):
    experiment = known(toy(drawn))
    running.run([experiment], engine="here", folder=tmp_path)
    monkeypatch.setattr(code, "version", lambda experiment: "another")
    (report,) = running.known([experiment], folder=tmp_path)
    assert report.status == "not run" and "6 results of an older version" in report.told[0]


def test_a_digest_changes_with_the_experiments_own_file_and_not_with_its_neighbours():
    digests = {experiment.name: code.version(experiment) for experiment in EXPERIMENTS}
    assert len(set(digests.values())) == len(EXPERIMENTS)


def test_words_and_judgements_leave_results_as_they_are_and_measurements_do_not():
    source = "LIMIT = 3\ndef used(x):\n    return x * LIMIT\ndef measure(task):\n    return used(task)\n"
    words = "STORY = 'one'\ndef check(table):\n    return STORY\n"
    before = code.measuring(source + words, {"measure"})
    assert code.measuring(source + words.replace("one", "two"), {"measure"}) == before
    assert code.measuring(source.replace("= 3", "= 4") + words, {"measure"}) != before
    assert code.measuring(source.replace("x * LIMIT", "x + LIMIT") + words, {"measure"}) != before


KILLED = """
import os, signal, sys
from fadeout.lab import named, running

def stop(progress):
    if progress.done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

running.run([named("product")], size="smoke", engine="here", folder=sys.argv[1], progress=stop)
"""


def test_a_run_that_was_killed_goes_on(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    steps = []
    (report,) = running.run(
        [named("product")], size="smoke", engine="here", folder=tmp_path, progress=lambda p: steps.append(p.done)
    )
    assert steps[0] == 5 and report.status == "done"


def test_a_task_that_fails_is_tried_again_and_then_told_without_losing_the_others(tmp_path, known):
    calls = []

    def measure(task):
        calls.append(task)
        if task.arm == "a" and task.seed == 1:
            raise RuntimeError("this one never works")
        return drawn(task)

    (report,) = running.run([known(toy(measure))], engine="here", folder=tmp_path)
    assert report.status == "failed" and "1 of 6 tasks failed: RuntimeError: this one never works" in report.why
    assert len(calls) == 7 and len(report.table.rows) == 5
    assert to_dict([report])["experiments"][0]["status"] == "failed"


def test_a_task_that_works_the_second_time_leaves_no_word(tmp_path, known):
    calls = []

    def measure(task):
        calls.append(task)
        if len(calls) == 1:
            raise RuntimeError("a worker was lost")
        return drawn(task)

    (report,) = running.run([known(toy(measure))], engine="here", folder=tmp_path)
    assert report.status == "done" and not report.why


def test_ctrl_c_keeps_what_is_done(tmp_path, known):
    def measure(task):
        if task.arm == "b":
            raise KeyboardInterrupt
        return drawn(task)

    with pytest.raises(running.InterruptedLab, match="3 of 6 tasks are done and kept"):
        running.run([known(toy(measure))], engine="here", folder=tmp_path)


def test_rows_that_dont_answer_the_question_fail_the_experiment(tmp_path, known):
    def check(table):
        return Found(held=table.mean("another", "a") > 0, measured="")

    (report,) = running.run([known(toy(drawn, check=check))], engine="here", folder=tmp_path)
    assert report.status == "failed" and "no another of a" in report.why


def test_random_state_of_the_caller_is_left_alone(tmp_path, known):
    before = torch.random.get_rng_state()
    running.run([known(toy(drawn))], engine="here", folder=tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"size": "tiny"}, "one of smoke, quick, full"),
        ({"engine": "cloud"}, "no engine 'cloud'"),
        ({"engine": "together"}, "one case only"),
        ({"data": "imagenet"}, "no data set 'imagenet'"),
    ],
)
def test_wrong_arguments_are_told(tmp_path, wrong, says):
    with pytest.raises(FadeoutError, match=says):
        running.run([named("product")], folder=tmp_path, **wrong)


def test_the_nearest_name_is_suggested():
    with pytest.raises(FadeoutError, match="did you mean 'product'"):
        named("prodcut")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FadeoutError, match="can't make the folder"):
        running.run([named("product")], size="smoke", folder=tmp_path / "file" / "below")


def test_a_store_that_is_none_is_told(tmp_path):
    (tmp_path / running.FILE).write_text("no database at all, but text that is long enough to look like one")
    with pytest.raises(FadeoutError, match="damaged or no file of results of the lab"):
        running.run([named("product")], size="smoke", folder=tmp_path)
    (tmp_path / running.FILE).unlink()
    with sqlite3.connect(tmp_path / running.FILE) as base:
        base.execute("CREATE TABLE other (x)")
    with pytest.raises(FadeoutError, match="another program"):
        running.known(folder=tmp_path)


@pytest.mark.skipif(os.getuid() == 0 and not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_told(tmp_path, known):
    (report,) = running.run([known(toy(drawn))], engine="here", folder=tmp_path)
    (tmp_path / "book.html").symlink_to("/dev/full")
    with pytest.raises(FadeoutError, match="can't write"):
        write([report], tmp_path)


def test_a_data_file_with_another_checksum_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("FADEOUT_DATA", str(tmp_path))
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not the file")
    data.load.cache_clear()
    with pytest.raises(FadeoutError, match=r"checksum .* not f68b3c2dcbeaaa9fbdd348bbdeb94873"):
        data.load("mnist")


def test_mnist_in_its_usual_files_is_read(tmp_path, monkeypatch):
    """Files of the same format, with checksums of their own."""
    import gzip

    monkeypatch.setenv("FADEOUT_DATA", str(tmp_path))
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)
    labels = torch.tensor([3, 1, 4, 1, 5], dtype=torch.uint8)
    named_files = []
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
                 "t10k-labels-idx1-ubyte.gz"):  # fmt: skip
        held = images if "images" in name else labels
        head = bytes([0, 0, 8, held.dim()]) + b"".join(n.to_bytes(4, "big") for n in held.shape)
        raw = gzip.compress(head + bytes(held.flatten().tolist()))
        (folder / name).write_bytes(raw)
        named_files.append((name, hashlib.md5(raw, usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(data, "_MNIST", tuple(named_files))
    data.load.cache_clear()
    found = data.load("mnist")
    data.load.cache_clear()
    assert found.shape == (1, 28, 28) and found.y.tolist() == [3, 1, 4, 1, 5]
    assert found.x.mean().abs() < 1e-5 and abs(float(found.x.std()) - 1) < 1e-5
    assert torch.corrcoef(torch.stack([found.x.flatten(), images.flatten().float()]))[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("held", "verdict"),
    [([True, True], "reproduced"), ([True, False], "depends"), ([False], "not reproduced"), ([None], None),
     ([None, True], "reproduced")],
)  # fmt: skip
def test_a_verdict_is_the_sum_of_its_expectations(held, verdict):
    assert verdict_of([Outcome(expected="", measured="", held=h) for h in held]) == verdict


def test_a_table_gives_values_in_the_order_of_seeds_and_tells_what_it_lacks():
    rows = tuple(Row(quantity="q", arm="a", value=float(s * 10), seed=s, x=1.0) for s in (2, 0, 1))
    table = Table(rows=rows)
    assert table.values("q", "a") == (0.0, 10.0, 20.0) and table.mean("q", "a", 1.0) == 10.0
    with pytest.raises(KeyError, match="no q of b at 2"):
        table.values("q", "b", 2.0)
    nothing = Table(rows=(Row(quantity="q", arm="a", value=-math.inf, seed=0),))
    assert nothing.mean("q", "a") == -math.inf


def test_the_results_folder_holds_json_parquet_claims_and_a_book(tmp_path, known):
    from pyarrow import parquet

    reports = running.run([known(toy(drawn))], engine="here", folder=tmp_path)
    write(reports, tmp_path)
    told = json.loads((tmp_path / "lab.json").read_text())
    first = told["experiments"][0]
    assert {"name", "claim", "source", "status", "verdict", "expectation", "measured", "seconds"} <= first.keys()
    assert first["verdict"] == "reproduced" and first["measured"] == "fine"
    rows = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(rows) == 6 and rows[0]["experiment"] == TOY
    page = (tmp_path / "book.html").read_text()
    assert f'id="{TOY}"' in page and "https://" not in page.split("<script>")[0]
    assert "It is fine." in (tmp_path / "claims.md").read_text()


def lab(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "fadeout", "lab", *args], capture_output=True, text=True, check=False, **options
    )


def test_the_command_lists_runs_and_speaks_json(tmp_path):
    listed = lab("--folder", str(tmp_path / "none"))
    assert listed.returncode == 0 and "product" in listed.stdout and "not run" in listed.stdout
    assert not (tmp_path / "none").exists()
    ran = lab("product", "--smoke", "--json", "--folder", str(tmp_path))
    told = json.loads(ran.stdout)
    assert ran.returncode == 0 and told["experiments"][0]["verdict"] == "reproduced"
    again = json.loads(lab("--json", "--folder", str(tmp_path)).stdout)
    assert [e["status"] for e in again["experiments"] if e["name"] == "product"] == ["done"]
    assert len(again["experiments"]) == len(EXPERIMENTS)
    wrong = lab("prodcut", "--folder", str(tmp_path))
    assert wrong.returncode == 2 and "did you mean 'product'" in wrong.stderr
    both = lab("product", "--smoke", "--full")
    assert both.returncode == 2 and "two sizes" in both.stderr


def test_the_command_survives_ctrl_c(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "lab", "depth", "--folder", str(tmp_path)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / running.FILE).exists() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on there" in told
