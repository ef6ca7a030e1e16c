"""Networks with several optimizers: one track a network, or a part that is trained by itself, and no false alarm."""

import math
import threading

import pytest
import torch
import torch.nn.functional as F

import fadeout
from fadeout.live.losses import WRAPS
from fadeout.live.options import Options
from fadeout.live.watch import Watch
from live import loops as ls
from live.loops_of_several import IN_TURN, ONE
from live.test_watch import read, watching

FALSE = {"FO103", "FO104", "FO215", "FO221"}  # no loop here has one of them


def as_launched(path):
    """A watch that is told of every optimizer as it is made, as in a launched script."""
    return Watch(Options(store=str(path), live=False))


def trained_as_launched(make, path, steps=ls.STEPS):
    """Train under a watch that hooks every optimizer of the process."""
    from torch.optim import Optimizer

    watch, made = as_launched(path), Optimizer.__init__

    def told(self, *args, **kwargs):
        made(self, *args, **kwargs)
        watch.made(self)

    Optimizer.__init__ = told
    watch.begin()
    try:
        torch.manual_seed(0)
        loop = make()
        for _ in range(steps):
            loop.iterate()
        found = ls.fingerprint(loop)
    finally:
        Optimizer.__init__ = made
        watch.end()
    return found, loop


@pytest.mark.parametrize("name", [*ONE, *IN_TURN])
def test_training_is_the_same_to_the_bit_and_nothing_is_told_falsely(name, tmp_path):
    make = {**ONE, **IN_TURN}[name]
    torch.manual_seed(0)
    alone = make()
    for _ in range(ls.STEPS):
        alone.iterate()
    found, _ = trained_as_launched(make, tmp_path / "run.db")
    assert found == ls.fingerprint(alone)
    run = read(tmp_path / "run.db")
    assert len(run.tracks) == (1 if name in ONE else 2), [(t.name, t.optimizer) for t in run.tracks]
    for track in run.tracks:
        assert track.steps + track.skipped == ls.STEPS, (track.steps, track.skipped)
        assert track.exam is not None and len(track.probes) >= 4, run.words
        assert not FALSE & {f.code for f in track.exam.findings}, [f.claim for f in track.exam.findings]
        assert not any(n.code in FALSE for n in track.noticed), track.noticed
    assert not WRAPS.sights
    assert not any("switched itself off" in word for word in run.words), run.words


@pytest.mark.parametrize("name", [*ONE, *IN_TURN])
def test_the_same_where_the_watch_is_handed_them(name, tmp_path):
    _, loop, _ = ls.trained({**ONE, **IN_TURN}[name], watching(tmp_path / "run.db"))
    run = read(tmp_path / "run.db")
    assert len(run.tracks) == (1 if name in ONE else 2)
    assert all(track.steps + track.skipped == ls.STEPS for track in run.tracks)
    for optimizer in loop.optimizers:
        assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("name", ["backbone_and_head", "one_a_parameter", "muon_and_adam", "now_and_then"])
def test_norms_are_those_that_each_optimizer_was_about_to_use(name, tmp_path):
    expected: dict[str, list[float]] = {}

    def watch_and_read(loop):
        seen = fadeout.watch(loop.models, loop.optimizers, store=tmp_path / "run.db", live=False, budget=1.0)
        names = {id(p): n for n, p in loop.models[0].named_parameters()}

        def hook(optimizer, args, kwargs):
            for p in (p for g in optimizer.param_groups for p in g["params"]):
                expected.setdefault(names[id(p)], []).append(float(p.grad.double().norm()))

        for optimizer in loop.optimizers:
            optimizer.register_step_pre_hook(hook)
        return seen

    ls.trained(ONE[name], watch_and_read)
    (track,) = read(tmp_path / "run.db").tracks
    samples = track.of("gradient")
    assert set(samples.names) == set(expected)
    for place, parameter in enumerate(samples.names):
        row = [low[place] for low in samples.low if place < len(low) and not math.isnan(low[place])]
        assert row == pytest.approx(expected[parameter], rel=1e-4)


def test_the_reading_is_that_of_one_optimizer_that_holds_all(tmp_path):
    """Split by layer, the same optimizer gives the same account and the same update ratios."""

    def trained(split):
        torch.manual_seed(0)
        model = ls.net()
        layers = [[*m.parameters()] for m in model if list(m.parameters())]
        groups = layers if split else [[p for layer in layers for p in layer]]
        optimizers = [torch.optim.Adam(group, 1e-2) for group in groups]
        x, y = ls.data()
        with fadeout.watch(model, optimizers, store=tmp_path / f"{split}.db", live=False) as seen:
            for _ in range(6):
                model.zero_grad()
                F.cross_entropy(model(x[:64]), y[:64]).backward()
                for optimizer in optimizers:
                    optimizer.step()
        return seen.exam

    whole, parts = trained(False), trained(True)
    assert parts.decades == whole.decades
    assert [layer.update_ratio for layer in parts.layers] == pytest.approx([la.update_ratio for la in whole.layers])
    assert [f.code for f in parts.findings] == [f.code for f in whole.findings]
    assert parts.environment.optimizer == "5 Adam lr 0.01"


def test_a_layer_that_no_optimizer_holds_is_still_told(tmp_path):
    torch.manual_seed(0)
    model = ls.net()
    optimizers = [torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.SGD(model[4:].parameters(), 0.1)]
    x, y = ls.data()
    with fadeout.watch(model, optimizers, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(12):
            model.zero_grad()
            F.cross_entropy(model(x[:64]), y[:64]).backward()
            for optimizer in optimizers:
                optimizer.step()
    assert "FO221" in [f.code for f in seen.exam.findings]


def test_a_part_that_is_cut_off_is_still_told_with_an_optimizer_a_layer(tmp_path):
    torch.manual_seed(0)
    body, head = ls.net(2), torch.nn.Linear(4, 4)

    class Cut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = body, head

        def forward(self, x):
            return self.head(self.body(x).detach())

    model = Cut()
    optimizers = [torch.optim.Adam(m.parameters(), 1e-2) for m in (*body, head) if list(m.parameters())]
    x, y = ls.data()
    with fadeout.watch(model, optimizers, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(30):
            model.zero_grad()
            F.cross_entropy(model(x[:64]), y[:64]).backward()
            for optimizer in optimizers:
                optimizer.step()
    assert "FO103" in [f.code for f in seen.exam.findings], seen.exam.findings


def in_threads(makes, errors):
    def go(make):
        try:
            loop = make()
            for _ in range(loop.steps):
                loop.iterate()
        except Exception as error:  # read by the test
            errors.append(error)

    threads = [threading.Thread(target=go, args=(make,)) for make in makes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("made_here", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_networks_that_are_trained_in_threads(made_here, count, tmp_path):
    watch, errors = as_launched(tmp_path / "run.db"), []
    watch.begin()
    try:
        kept = [ls.sgd() for _ in range(count)]
        makes = [lambda loop=loop: loop for loop in kept] if made_here else [ls.sgd] * count
        in_threads(makes, errors)
    finally:
        watch.end()
    for loop in kept:
        assert not loop.optimizers[0]._optimizer_step_pre_hooks
    run = read(tmp_path / "run.db")
    assert not errors and not WRAPS.sights
    assert not any("switched itself off" in word for word in run.words), run.words
    if made_here:
        assert [track.steps for track in run.tracks] == [ls.STEPS] * count
    assert run.tracks and all(track.exam is not None for track in run.tracks), run.words
    for loop in kept:
        for module in loop.models[0].modules():
            assert not module._forward_hooks and not module._forward_pre_hooks


def test_one_network_that_several_threads_train_at_once(tmp_path):
    watch, errors = as_launched(tmp_path / "run.db"), []
    watch.begin()
    model = ls.net()
    x, y = ls.data()

    def one():
        optimizer = torch.optim.SGD(model.parameters(), 0.01)

        def iterate():
            a, b = x[:32], y[:32]
            F.cross_entropy(model(a), b).backward()
            optimizer.step()

        return ls.Loop([model], [optimizer], iterate)

    try:
        in_threads([one] * 3, errors)
    finally:
        watch.end()
    assert not WRAPS.sights and not any(m._forward_hooks for m in model.modules())
    assert not any("switched itself off" in word for word in read(tmp_path / "run.db").words)


@pytest.mark.parametrize("where", ["norms", "Runs.add", "Prober.take", "Track.conclude"])
def test_a_watch_that_gives_up_takes_every_hook_off(where, tmp_path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise MemoryError("a fault of ours")

    place = {
        "norms": "fadeout.live.round.norms",
        "Runs.add": "fadeout.store.runs.Runs.add",
        "Prober.take": "fadeout.live.track.Prober.take",
        "Track.conclude": "fadeout.live.track.Track.conclude",
    }
    monkeypatch.setattr(place[where], broken)
    alone, _, _ = ls.trained(ONE["backbone_and_head"])
    watched, loop, _ = ls.trained(ONE["backbone_and_head"], watching(tmp_path / "run.db"))
    assert watched == alone and not WRAPS.sights
    for module in loop.models[0].modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    said = capsys.readouterr().err
    assert said.count("switched itself off") == (0 if where == "Prober.take" else 1)
    if where == "Prober.take":  # costs the run nothing but its probes
        assert any("running the network once more" in word for word in read(tmp_path / "run.db").words)
