"""The lab notices a wrong instrument: each is broken on purpose, and an experiment that held no longer does."""

from dataclasses import replace

import pytest
import torch

from fadeout.lab import named, running
from fadeout.probe import session
from fadeout.probe.instruments.units import Units
from fadeout.probe.recurrent import walk_back


def held(name, folder):
    (report,) = running.run([named(name)], size="smoke", engine="here", folder=folder)
    assert report.status == "done", report.why
    return [outcome.held for outcome in report.outcomes if outcome.held is not None]


def a_ledger_that_loses_a_little(monkeypatch):
    read = session.read_ledger

    def wrong(*args, **options):
        ledger = read(*args, **options)
        return replace(ledger, decades=0.97 * ledger.decades)

    monkeypatch.setattr(session, "read_ledger", wrong)


def a_ledger_that_forgets_a_stage(monkeypatch):
    read = session.read_ledger

    def wrong(*args, **options):
        ledger = read(*args, **options)
        return replace(ledger, stages=ledger.stages[:-1])

    monkeypatch.setattr(session, "read_ledger", wrong)


def slopes_that_are_too_large(monkeypatch):
    ask = Units._slope
    monkeypatch.setattr(Units, "_slope", lambda self, node: None if (s := ask(self, node)) is None else s.abs().sqrt())


def slopes_of_the_wrong_sign_of_input(monkeypatch):
    ask = Units._slope
    monkeypatch.setattr(Units, "_slope", lambda self, node: None if (s := ask(self, node)) is None else s.max() - s)


def a_time_axis_that_fades_too_fast(monkeypatch):
    measured = walk_back.Segment.norm

    def wrong(self):  # log2, a row a step
        bits = measured(self)
        return bits - 0.01 * torch.arange(len(bits), 0, -1, dtype=bits.dtype).view(-1, *[1] * (bits.dim() - 1))

    monkeypatch.setattr(walk_back.Segment, "norm", wrong)


def a_time_axis_that_is_off_by_one(monkeypatch):
    measured = walk_back.Segment.norm
    monkeypatch.setattr(walk_back.Segment, "norm", lambda self: measured(self).roll(1, 0))


MUTATIONS = [
    ("product", a_ledger_that_loses_a_little),
    ("product", a_ledger_that_forgets_a_stage),
    ("activation", slopes_that_are_too_large),
    ("activation", slopes_of_the_wrong_sign_of_input),
    ("recurrent", a_time_axis_that_fades_too_fast),
    ("recurrent", a_time_axis_that_is_off_by_one),
]


@pytest.mark.parametrize(("name", "mutate"), MUTATIONS, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_the_lab_notices(name, mutate, tmp_path, monkeypatch):
    assert all(held(name, tmp_path / "sound"))
    mutate(monkeypatch)
    assert not all(held(name, tmp_path / "broken"))
