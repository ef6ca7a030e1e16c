"""The watch on training loops as people write them: it harms none, its numbers are the loop's own."""

import gc
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.live.losses import FUNCTIONS, WRAPS
from fadeout.store.runs import Runs
from live import loops as ls


def watching(path, **options):
    return lambda loop: fadeout.watch(loop.models, loop.optimizers, store=path, live=False, **options)


def read(path):
    runs = Runs(path)
    try:
        return runs.read()
    finally:
        runs.close()


@pytest.mark.parametrize("name", ls.LOOPS)
def test_training_is_the_same_to_the_bit(name, tmp_path):
    alone, _, _ = ls.trained(ls.LOOPS[name])
    watched, loop, _ = ls.trained(ls.LOOPS[name], watching(tmp_path / "run.db"))
    assert watched == alone
    run = read(tmp_path / "run.db")
    assert run.tracks and not any("switched itself off" in word for word in run.words), run.words
    assert len(run.tracks) == len(loop.optimizers)
    for track in run.tracks:
        assert track.steps + track.skipped == loop.steps
        if name not in ("written_inputs",):
            first = track.skipped if "fused" in name else 0  # its calls are counted, those left out too
            assert track.probes and track.probes[0] <= first and len(track.probes) >= 4, run.words
            assert track.exam is not None


@pytest.mark.parametrize("name", ls.LOOPS)
def test_nothing_is_left_behind(name, tmp_path):
    functions = {f: getattr(F, f) for f in FUNCTIONS}
    backward, scale = torch.autograd.backward, torch.amp.GradScaler.scale
    _, loop, _ = ls.trained(ls.LOOPS[name], watching(tmp_path / "run.db"))
    assert not WRAPS.sights
    assert torch.autograd.backward is backward and torch.amp.GradScaler.scale is scale
    assert all(getattr(F, f) is functions[f] for f in FUNCTIONS)
    for model in loop.models:
        for module in model.modules():
            assert not module._forward_hooks and not module._forward_pre_hooks, module
    for optimizer in loop.optimizers:
        assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "fused_adam", "accumulated", "scaled", "scaled_fused", "scaled_clipped", "clipped", "bf16",
             "sparse", "checkpointed", "own_loss", "frozen_then_thawed", "lbfgs"],
)  # fmt: skip
def test_gradient_norms_are_those_of_the_step(name, tmp_path):
    """Against the gradients that the optimizer itself was about to use, read by a hook of our own."""
    expected = []

    def watch_and_read(loop):
        seen = fadeout.watch(loop.models, loop.optimizers, store=tmp_path / "run.db", live=False, budget=1.0)
        (optimizer,) = loop.optimizers

        def hook(optimizer, args, kwargs):
            scale = getattr(optimizer, "grad_scale", None)
            rows = []
            for p in (p for g in optimizer.param_groups for p in g["params"]):
                grad = p.grad
                if grad is None:
                    rows.append(math.nan)
                    continue
                grad = grad.coalesce().values() if grad.is_sparse else grad
                value = float(torch.linalg.vector_norm(grad.double()))
                rows.append(value / float(scale) if scale is not None else value)
            expected.append(rows)

        optimizer.register_step_pre_hook(hook)
        return seen

    ls.trained(ls.LOOPS[name], watch_and_read)
    (track,) = read(tmp_path / "run.db").tracks
    samples = track.of("gradient")
    assert samples.first == tuple(range(1, len(samples.first) + 1))
    for step, row in zip(samples.first, samples.low, strict=True):
        if name == "lbfgs":
            continue  # its gradient comes from the closure, after the hook: below
        assert row[: len(expected[step - 1])] == pytest.approx(expected[step - 1], rel=1e-4, nan_ok=True)
    if name == "lbfgs":
        assert all(0 < v < 100 for row in samples.low for v in row)


def test_losses_are_those_of_the_step_without_the_loss_scale(tmp_path):
    for name in ("accumulated", "scaled", "own_loss"):
        path = tmp_path / f"{name}.db"
        ls.trained(ls.LOOPS[name], watching(path))
        losses = read(path).tracks[0].of("loss")
        values = [row[0] for row in losses.low]
        assert 0.9 < values[0] < 2.0 and values[-1] < values[0]


def test_steps_that_a_scaler_leaves_out_are_counted(tmp_path):
    for name in ("scaled", "scaled_fused"):
        _, _, _ = ls.trained(ls.LOOPS[name], watching(tmp_path / f"{name}.db"))
        (track,) = read(tmp_path / f"{name}.db").tracks
        assert track.skipped > 0, name


def test_clipping_is_measured_before_and_after(tmp_path):
    ls.trained(ls.LOOPS["clipped"], watching(tmp_path / "run.db", budget=1.0))
    (track,) = read(tmp_path / "run.db").tracks
    before = [row[0] for row in track.of("total").low]
    after = [math.hypot(*row) for row in track.of("gradient").low]
    assert all(a == pytest.approx(min(b, 0.05), rel=1e-3) for a, b in zip(after, before, strict=True))
    assert max(before) > 0.05


def test_a_replay_gives_the_gradients_of_the_step(tmp_path):
    """The exam of a live step is that of the same model and batch, taken by hand."""
    torch.manual_seed(0)
    model = ls.net(6)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    x, y = ls.data()
    x, y = x[:64], y[:64]
    with fadeout.watch(model, optimizer, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    by_hand = fadeout.examine(model, (x, y), loss=F.cross_entropy)
    assert seen.exam.decades == pytest.approx(by_hand.decades, abs=1e-5)
    for live, own in zip(seen.exam.layers, by_hand.layers, strict=True):
        assert live.path == own.path
        assert live.gradient_norm == pytest.approx(own.gradient_norm, rel=1e-4)
        assert live.mean_slope == pytest.approx(own.mean_slope, rel=1e-4, nan_ok=True)


def test_progress_is_against_the_best_constant_output(tmp_path):
    torch.manual_seed(0)
    model = ls.net(2)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = ls.data()
    with fadeout.watch(model, optimizer, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert seen.exam.progress == "learns" and seen.exam.verdict == "flows"
    assert seen.exam.course.learned[-1] > 0.5


def deep(activation):
    layers = [part for i in range(16) for part in (nn.Linear(16, 16), activation())]
    return nn.Sequential(*layers, nn.Linear(16, 4))


def test_a_fading_gradient_is_told_once_while_it_trains(tmp_path, capsys):
    torch.manual_seed(0)
    model = deep(nn.Sigmoid)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = ls.data()
    with fadeout.watch(model, optimizer, store=tmp_path / "run.db") as seen:
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:64]), y[:64]).backward()
            optimizer.step()
    told = capsys.readouterr()
    assert not told.out
    assert told.err.count("alarm FO101") == 1 and "VANISHING" in told.err
    assert seen.exam.verdict == "vanishing"
    assert any(n.code == "FO101" for n in read(tmp_path / "run.db").tracks[0].noticed)


def test_an_error_of_the_watch_ends_it_and_not_the_training(tmp_path, capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("fadeout.live.round.norms", broken)
    alone, _, _ = ls.trained(ls.LOOPS["adam"])
    watched, loop, _ = ls.trained(ls.LOOPS["adam"], watching(tmp_path / "run.db"))
    assert watched == alone
    said = capsys.readouterr().err
    assert said.count("switched itself off") == 1 and "a fault of ours" in said
    assert not loop.optimizers[0]._optimizer_step_pre_hooks


def test_a_full_disk_ends_the_watch_and_not_the_training(tmp_path, capsys, monkeypatch):
    from fadeout.errors import FadeoutError

    def full(*args, **kwargs):
        raise FadeoutError("run: can't use run.db (database or disk is full)")

    monkeypatch.setattr("fadeout.store.runs.Runs.add", full)
    alone, _, _ = ls.trained(ls.LOOPS["sgd"])
    watched, _, _ = ls.trained(ls.LOOPS["sgd"], watching(tmp_path / "run.db"))
    assert watched == alone and "disk is full" in capsys.readouterr().err


def test_a_training_error_is_the_users_own(tmp_path):
    model = ls.net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with (
        pytest.raises(RuntimeError, match="shapes"),
        fadeout.watch(model, optimizer, store=tmp_path / "r.db", live=False),
    ):
        model(torch.randn(3, 5))
    assert not WRAPS.sights


def test_models_are_let_go(tmp_path):
    import weakref

    _, loop, seen = ls.trained(ls.LOOPS["adam"], watching(tmp_path / "run.db"))
    refs = [weakref.ref(p) for p in loop.models[0].parameters()]
    del loop, seen
    gc.collect()
    assert all(ref() is None for ref in refs)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda m, o: fadeout.watch(nn.Linear, o), TypeError, "must be a torch.nn.Module"),
        (lambda m, o: fadeout.watch(m, "adam"), TypeError, "must be a torch.optim.Optimizer"),
        (lambda m, o: fadeout.watch(nn.Linear(2, 2), o), ValueError, "holds no parameter"),
        (lambda m, o: fadeout.watch(m, o, budget=3), ValueError, "share of the time"),
    ],
)
def test_wrong_calls_are_told(wrong, error, says):
    model = ls.net()
    with pytest.raises(error, match=says):
        wrong(model, torch.optim.SGD(model.parameters(), 0.1))


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    model = ls.net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with (
        pytest.raises(fadeout.FadeoutError, match="can't use"),
        fadeout.watch(model, optimizer, store=tmp_path / "no" / "folder" / "run.db"),
    ):
        pass
    assert not WRAPS.sights


def test_a_script_that_trains_many_networks_keeps_none_of_them(tmp_path):
    import weakref

    from fadeout.live.options import Options
    from fadeout.live.watch import Watch

    watch = Watch(Options(store=str(tmp_path / "run.db"), live=False))
    watch.begin()
    alive = []
    x, y = ls.data()
    try:
        for n in range(4):
            torch.manual_seed(n)
            model = ls.net()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            watch.made(optimizer)
            for _ in range(3):
                optimizer.zero_grad()
                F.cross_entropy(model(x[:32]), y[:32]).backward()
                optimizer.step()
            alive.append(weakref.ref(model))
            del model, optimizer
    finally:
        watch.end()
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 1
    run = read(tmp_path / "run.db")
    assert [track.steps for track in run.tracks] == [3, 3, 3, 3] and all(t.exam is not None for t in run.tracks)


def test_a_new_optimizer_for_the_same_network_goes_on_with_its_track(tmp_path):
    from fadeout.live.options import Options
    from fadeout.live.watch import Watch

    watch = Watch(Options(store=str(tmp_path / "run.db"), live=False))
    watch.begin()
    x, y = ls.data()
    model = ls.net()
    for _ in range(3):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watch.made(optimizer)
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:32]), y[:32]).backward()
            optimizer.step()
    watch.end()
    (track,) = read(tmp_path / "run.db").tracks
    assert track.steps == 12 and track.probes[:4] == (0, 1, 2, 3)


def test_an_optimizer_that_comes_later_and_steps_in_turn(tmp_path):
    from fadeout.live.options import Options
    from fadeout.live.watch import Watch

    watch = Watch(Options(store=str(tmp_path / "run.db"), live=False))
    watch.begin()
    x, y = ls.data()
    pairs = []
    for n in range(12):
        if n in (0, 4):
            model = ls.net()
            pairs.append((model, torch.optim.SGD(model.parameters(), 0.1)))
            watch.made(pairs[-1][1])
        for model, optimizer in pairs:
            optimizer.zero_grad()
            F.cross_entropy(model(x[:32]), y[:32]).backward()
            optimizer.step()
    watch.end()
    assert [track.steps for track in read(tmp_path / "run.db").tracks] == [12, 8]


class Outputs(nn.Module):
    """Returns its loss and its logits, as Hugging Face's models do, and features that a second loss reads."""

    def __init__(self):
        super().__init__()
        self.body, self.head = ls.net(4), nn.Linear(4, 4)

    def forward(self, x, y):
        features = self.body(x)
        logits = self.head(torch.tanh(features))
        return {"loss": F.cross_entropy(logits, y), "logits": logits, "features": features}


@pytest.mark.parametrize("second", [False, True])
def test_outputs_that_are_made_of_one_another_are_not_counted_twice(tmp_path, second):
    torch.manual_seed(0)
    model = Outputs()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    x, y = ls.data()
    x, y = x[:64], y[:64]

    def loss(out):
        return out["loss"] + (0.1 * out["features"].square().mean() if second else 0.0)

    with fadeout.watch(model, optimizer, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(2):
            optimizer.zero_grad()
            loss(model(x, y)).backward()
            optimizer.step()
    by_hand = fadeout.examine(model, step=lambda m: loss(m(x, y)))
    for live, own in zip(seen.exam.layers, by_hand.layers, strict=True):
        assert live.gradient_norm == pytest.approx(own.gradient_norm, rel=1e-3)


def test_parts_that_are_called_one_after_the_other_are_one_way_back(tmp_path):
    torch.manual_seed(0)
    model = ls.Parts()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    x, y = ls.data()

    def loss(m):
        return F.cross_entropy(m.decoder(m.encoder(x)), y)

    with fadeout.watch(model, optimizer, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(2):
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()
    by_hand = fadeout.examine(model, step=loss)
    for live, own in zip(seen.exam.layers, by_hand.layers, strict=True):
        assert live.gradient_norm == pytest.approx(own.gradient_norm, rel=1e-3)
    assert seen.exam.decades == pytest.approx(by_hand.decades, abs=1e-4)


def test_a_model_that_is_copied_or_pickled_while_a_probe_is_due(tmp_path):
    """Between backward and step, where people keep their best weights: nothing raises, and the copies keep nothing."""
    import copy
    import pickle

    torch._dynamo.reset()  # once something is compiled, hooks on the modules are used
    torch.manual_seed(0)
    model = ls.net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = ls.data()
    copies = []
    with fadeout.watch(model, optimizer, store=tmp_path / "run.db", live=False) as seen:
        for _ in range(6):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:32]), y[:32]).backward()
            copies += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
            optimizer.step()
            for one in copies:
                one(x[:8])
    assert seen.exam is not None and len(copies) == 12
    for one in copies:
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in one.modules())
