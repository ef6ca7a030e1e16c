"""A watched training stays the same to the bit where the forward does more than to compute."""

import contextlib
import importlib
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

import fadeout
from fadeout.store.runs import Runs
from live import forwards, loops

STEPS = 60


def train(form: str, watching=None):
    """Weights, what the module holds beside them, and every random state, after a run from the start."""
    fresh = importlib.reload(forwards)
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    model = getattr(fresh, form)()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = loops.data()
    with watching(model, optimizer) if watching is not None else contextlib.nullcontext():
        for _ in range(STEPS):
            a, b = loops.batch(x, y)
            optimizer.zero_grad()
            F.cross_entropy(model.call(a), b).backward()
            optimizer.step()
    weights = [p.detach().clone() for p in model.parameters()]
    state = (fresh.COUNT, fresh.SEEN, fresh.ClassCounter.calls, fresh.Counting.forwards, fresh.Counting.backwards)
    draws = (
        fresh.GLOBAL_NUMPY.random(), fresh.GLOBAL_RANDOM.random(), torch.rand((), generator=fresh.GLOBAL_TORCH).item(),
        np.random.rand(), random.random(), torch.rand(()).item(),
    )  # fmt: skip
    return weights, state, draws, model


def watched(form: str, folder):
    path = Path(folder) / "run.db"
    found = train(form, lambda m, o: fadeout.watch(m, o, store=path, live=False, budget=1.0))
    runs = Runs(path)
    try:
        return found, runs.read()
    finally:
        runs.close()


def same(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    assert one[1:3] == other[1:3]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch._dynamo.reset()  # what other tests have compiled
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("form", [kind.__name__ for kind in forwards.PROBED])
def test_what_can_be_put_back_is_probed_and_the_same_to_the_bit(form, tmp_path, capsys):
    alone = train(form)
    said = capsys.readouterr()
    again, run = watched(form, tmp_path)
    assert capsys.readouterr() == said
    same(again, alone)
    (track,) = run.tracks
    assert len(track.probes) >= 8 and track.exam is not None and not run.words, run.words


@pytest.mark.parametrize(("form", "why"), [(kind.__name__, why) for kind, why in forwards.REFUSED.items()])
def test_what_cannot_be_put_back_is_not_run_again_and_that_is_said_once(form, why, tmp_path):
    alone = train(form)
    files = {f.name: f.stat().st_size for f in tmp_path.iterdir()}
    for name in files:
        (tmp_path / name).unlink()
    again, run = watched(form, tmp_path)
    same(again, alone)
    assert {f.name: f.stat().st_size for f in tmp_path.iterdir() if not f.name.startswith("run.db")} == files
    assert len([word for word in run.words if why in word]) == 1 == len(run.words), run.words
    assert run.tracks[0].exam is None and run.tracks[0].of("gradient") is not None


def trained(model, hooks=lambda model: None, *, path, watching=True, each=lambda: None, steps=12):
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    kept = hooks(model)
    x, y = loops.data()
    watch = fadeout.watch(model, optimizer, store=path, live=False, budget=1.0)
    with watch if watching else contextlib.nullcontext():
        for _ in range(steps):
            a, b = loops.batch(x, y)
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            each()
            optimizer.step()
    return [p.detach().clone() for p in model.parameters()], kept


def seeded():
    torch.manual_seed(1)
    return loops.net()


def count_all(model):
    """One hook of every kind that a script can register, on every module and parameter."""
    counts: dict[str, int] = {}

    def counter(name):
        def hook(*_):
            counts[name] = counts.get(name, 0) + 1

        return hook

    for i, module in enumerate(model.modules()):
        module.register_forward_hook(counter(f"forward {i}"))
        module.register_forward_pre_hook(counter(f"before {i}"))
        module.register_full_backward_hook(counter(f"backward {i}"))
        module.register_full_backward_pre_hook(counter(f"backward before {i}"))
    for i, p in enumerate(model.parameters()):
        p.register_hook(counter(f"parameter {i}"))
        p.register_post_accumulate_grad_hook(counter(f"accumulated {i}"))
    return counts


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_hooks_of_the_script_run_as_often_as_without_the_watch(tmp_path):
    found = []
    for watching in (False, True):
        found.append(trained(seeded(), count_all, path=tmp_path / "run.db", watching=watching))
    (weights, counts), (again, counted) = found
    assert counted == counts and len(set(counts.values())) == 1
    assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True))
    assert len(Runs(tmp_path / "run.db").read().tracks[0].probes) >= 5


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_global_hooks_of_the_script_run_as_often_as_without_the_watch(tmp_path):
    from torch.nn.modules import module as m

    counts = []
    for watching in (False, True):
        n = [0]

        def count(*_, n=n):
            n[0] += 1

        handles = [
            m.register_module_forward_hook(count), m.register_module_forward_pre_hook(count),
            m.register_module_full_backward_hook(count),
        ]  # fmt: skip
        try:
            trained(loops.net(), path=tmp_path / "run.db", watching=watching)
        finally:
            for handle in handles:
                handle.remove()
        counts.append(n[0])
    assert counts[0] == counts[1] > 0


class Network(nn.Module):
    """Of the script's own, so that what its forward can get at is kept and put back."""

    def __init__(self):
        super().__init__()
        self.body = loops.net(batchnorm=True)

    def forward(self, x):
        return self.body(x)


WAYS = [
    "before", "unknown", "after", "by a decorator", "in place", "in place after", "per block", "inside",
    "beside",
]  # fmt: skip


@pytest.mark.parametrize("make", [Network, lambda: loops.net(batchnorm=True)])
@pytest.mark.parametrize("how", WAYS)
def test_what_is_compiled_is_compiled_once_without_a_warning_and_the_same_to_the_bit(how, make, tmp_path):
    """torch.compile warns of global hooks; `after`: once the watch has begun; `unknown`: the watch gets the module.

    `beside`: what is compiled of the network is for inference, and the network itself is trained.
    """

    def compiled(watching):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        fast = torch.compile(model, backend="eager") if how in ("before", "unknown", "beside") else model
        if how == "in place":
            model.compile(backend="eager")
        for block in [m for m in model.modules() if isinstance(m, nn.Linear)] if how == "per block" else []:
            block.compile(backend="eager")
        network = fast if how == "before" else model
        watch = fadeout.watch(network, optimizer, store=tmp_path / "run.db", live=False, budget=1.0)
        x, y = loops.data()
        with watch if watching else contextlib.nullcontext():
            if how in ("after", "inside"):
                fast = torch.compile(model if how == "after" else lambda x: model(x), backend="eager")
            elif how == "by a decorator":
                fast = torch.compile(backend="eager")(model)
            elif how == "in place after":
                model.compile(backend="eager")
            for _ in range(12):
                optimizer.zero_grad()
                F.cross_entropy((model if how == "beside" else fast)(x[:32]), y[:32]).backward()
                optimizer.step()
        weights = [t.detach().clone() for t in model.state_dict().values()]
        counters = torch._dynamo.utils.counters
        return weights, (counters["stats"]["unique_graphs"], dict(counters["graph_break"]))

    original = torch.compile
    (alone, graphs), (watched, ours) = compiled(False), compiled(True)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert graphs == ours
    assert torch.compile is original
    run = Runs(tmp_path / "run.db").read()
    if how == "inside":
        assert any("was seen outside of compiled code" in word for word in run.words)
    else:
        assert len(run.tracks[0].probes) >= 3, run.words
        assert not run.words


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_scripted_network_is_not_run_again(tmp_path):
    """Its code is rounded differently after some runs, so that even two trainings in one process are not the same."""
    trained(torch.jit.script(seeded()), path=tmp_path / "run.db")
    run = Runs(tmp_path / "run.db").read()
    assert len(run.words) == 1 and "(torch.jit), which counts its runs" in run.words[0]
    assert run.tracks[0].steps == 12 and not run.tracks[0].probes


@pytest.mark.parametrize("dress", ["weight_norm", "spectral_norm", "pruned"])
def test_hooks_by_which_torch_makes_the_weights_stay_on(dress, tmp_path):
    def dressed():
        model = seeded()
        for part in model:
            if isinstance(part, torch.nn.Linear):
                if dress == "pruned":
                    prune.l1_unstructured(part, "weight", 0.3)
                else:
                    getattr(torch.nn.utils, dress)(part)
        return model

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        alone, _ = trained(dressed(), path=tmp_path / "run.db", watching=False)
        again, _ = trained(dressed(), path=tmp_path / "run.db")
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))
    run = Runs(tmp_path / "run.db").read()
    assert len(run.tracks[0].probes) >= 5 and not run.words


def test_a_hook_that_changes_what_flows_ends_the_probes(tmp_path):
    trained(loops.net(), lambda m: m[0].register_forward_hook(lambda *a: a[2] * 2), path=tmp_path / "run.db")
    run = Runs(tmp_path / "run.db").read()
    assert len(run.words) == 1 and "a hook of the script's own changes what flows" in run.words[0]
    assert not run.tracks[0].probes


def test_an_output_that_is_another_one_the_second_time_ends_the_probes(tmp_path, monkeypatch):
    """State that nothing of Python's names: here, what the C library's clock says."""
    import time

    class Ticks(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(x) + 1e-3 * (time.perf_counter_ns() % 1009)

    trained(Ticks(loops.net()), path=tmp_path / "run.db")
    run = Runs(tmp_path / "run.db").read()
    assert len(run.words) == 1 and "does not give the same output twice" in run.words[0]
    assert not run.tracks[0].probes


def test_weights_that_move_between_forward_and_step_do_not_end_the_probes(tmp_path):
    """As under SAM: the step is taken from other weights than those that the gradient is of."""
    model = seeded()

    def away():
        with torch.no_grad():
            for p in model.parameters():
                p.data.mul_(0.9)

    trained(model, path=tmp_path / "run.db", each=away)
    run = Runs(tmp_path / "run.db").read()
    assert len(run.tracks[0].probes) >= 5 and not run.words


@pytest.mark.parametrize("error", [StopIteration, ValueError, SystemExit])
def test_an_error_of_the_second_run_never_reaches_the_script(error, tmp_path):
    import inspect

    class Suspicious(torch.nn.Sequential):
        def forward(self, x):
            if any(frame.filename.endswith("live/calls.py") for frame in inspect.stack(0)):
                raise error("run again")
            return super().forward(x)

    trained(Suspicious(loops.net()), path=tmp_path / "run.db")
    run = Runs(tmp_path / "run.db").read()
    assert len(run.words) == 1 and "run again" in run.words[0]


SAVES = """
import sys, torch, copy, warnings
warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit
import torch.nn.functional as F
from torch import nn
from torch import nn
import fadeout
compiled = sys.argv[1] == "compiled"
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
other = nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
with fadeout.watch(model, optimizer, store="run.db", live=False) as seen:
    torch.jit.script(model) if not compiled else torch.compile(other, backend="eager")(torch.ones(2, 2))
    for step in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 4)).square().mean().backward()
        torch.save(model, f"whole{step}.pt")
        torch.save(copy.deepcopy(model), f"copy{step}.pt")
        optimizer.step()
assert seen.exam is not None
assert not compiled or torch.compile.__module__ == "torch"
"""
LOADS = """
import sys, torch
sys.modules["fadeout"] = None  # can't be imported
for step in range(3):
    for kind in ("whole", "copy"):
        model = torch.load(f"{kind}{step}.pt", weights_only=False)
        assert b"fadeout" not in open(f"{kind}{step}.pt", "rb").read()
        model(torch.randn(4, 4))
        if sys.argv[1] == "plain":
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
"""


@pytest.mark.parametrize("how", ["plain", "compiled"])
def test_a_whole_model_that_is_saved_while_a_probe_is_due_needs_no_fadeout(how, tmp_path):
    for text in (SAVES, LOADS):
        done = subprocess.run([sys.executable, "-c", text, how], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
