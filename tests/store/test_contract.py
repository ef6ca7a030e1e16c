"""The JSON contract: valid by its schema, the same after a round trip, strict for every parser."""

import json
import math

import jsonschema
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
import models
from fadeout.store import schema
from fadeout.store.contract import from_dict, from_json, to_dict, to_json

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3
TOP = {
    "schema", "verdict", "sentence", "progress", "decades", "decades_per_layer", "effective_depth", "weight_layers",
    "effective_blocks", "ledger", "layers", "forecast", "time", "tokens", "streams", "terms", "course",
    "findings", "environment", "plan", "wont_help",
}  # fmt: skip
LEDGER = {"log_gain", "stages", "by_kind", "trunk", "ends", "unaccounted", "closing_error"}
LAYER = {
    "path", "kind", "gradient_norm", "gradient_rms", "activation_rms", "weight_rms", "mean_slope", "dead", "saturated",
    "between_samples", "update_ratio", "underflow", "not_finite",
}  # fmt: skip
FINDING = {
    "code", "label", "level", "claim", "where", "line", "decades", "expected", "since", "confidence", "cause", "status",
    "evidence", "helps", "wont_help",
}  # fmt: skip


def sick():
    torch.manual_seed(0)
    layers = [m for i in range(12) for m in (nn.Linear(8, 8), nn.Sigmoid())]
    return fadeout.examine(nn.Sequential(*layers, nn.Linear(8, 3)), (X, Y), loss=F.cross_entropy)


def severed():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.constant_(model[0].bias, -1e3)
    return fadeout.examine(model, (X, Y), loss=F.cross_entropy)


def residual():
    case = models.small_resnet()
    return fadeout.examine(case.model, case.batch, loss=case.loss)


@pytest.mark.parametrize("make", [sick, severed, residual])
def test_an_exam_survives_the_round_trip_and_its_schema(make, tmp_path):
    exam = make()
    text = to_json(exam)
    jsonschema.validate(json.loads(text), json.loads(schema.FILE.read_text()))
    assert to_json(from_json(text)) == text
    assert to_dict(from_dict(to_dict(exam))) == to_dict(exam)
    path = fadeout.save(exam, tmp_path / "exam.json")
    assert to_dict(fadeout.load(path)) == exam.to_dict()


def test_the_keys_are_those_that_other_programs_rely_on():
    data = sick().to_dict()
    assert data.keys() == TOP
    assert data["schema"] == "fadeout.exam/1"
    assert data["ledger"].keys() >= LEDGER
    assert data["ledger"]["stages"][0].keys() >= {"from", "to", "width", "log_gain", "branches"}
    assert data["ledger"]["trunk"].keys() == {"log_gain", "by_kind", "entries"}
    assert data["ledger"]["trunk"]["entries"][0].keys() == {"path", "op", "line", "kind", "log_gain"}
    assert data["ledger"]["by_kind"].keys() == {"weight", "slope", "norm", "skip", "mix", "loss", "other"}
    assert data["ledger"]["ends"][0].keys() == {"path", "what", "decades"}
    assert data["layers"][0].keys() >= LAYER
    assert data["layers"][0]["underflow"].keys() == {"fp16", "bf16"}
    assert data["findings"][0].keys() >= FINDING
    assert data["effective_depth"].keys() == {"layers", "seen", "moved"}
    assert data["decades_per_layer"].keys() == {"slope", "residual"}
    blocks = residual().to_dict()["effective_blocks"]
    assert blocks.keys() == {"n", "branch_total", "blocks"}
    assert blocks["blocks"][0].keys() >= {"path", "share", "influence"}


def test_infinite_decades_are_numbers_for_every_parser():
    text = to_json(severed())
    assert "Infinity" not in text
    assert "NaN" not in text
    assert '"decades": -1e999' in text
    assert json.loads(text)["decades"] == -math.inf


def test_the_shipped_schema_is_the_one_the_records_make():
    assert schema.FILE.read_text() == schema.text(), "a record changed: run `make schema`"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "not JSON"),
        ("{}", "expected schema"),
        ('{"schema": "fadeout.exam/1"}', "damaged"),
        ("[]", "expected"),
    ],
)
def test_a_file_that_is_no_exam_is_refused(content, words, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(fadeout.FadeoutError, match=words):
        fadeout.load(path)


def test_a_missing_file_or_folder_is_said(tmp_path):
    with pytest.raises(fadeout.FadeoutError, match="can't read"):
        fadeout.load(tmp_path / "none.json")
    with pytest.raises(fadeout.FadeoutError, match="can't write"):
        fadeout.save(sick(), tmp_path / "none" / "x.json")
    with pytest.raises(TypeError, match="expected an Exam"):
        fadeout.save("exam", tmp_path / "x.json")
