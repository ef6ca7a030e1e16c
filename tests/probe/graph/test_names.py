"""Every operation has a name a person recognises: module path, operation, source line."""

import inspect

import torch
import torch.nn.functional as F
from torch import nn

from fadeout.probe import measure


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"lift": nn.Linear(4, 8)})
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        h = F.relu(self.inner["lift"](x))
        both = torch.cat([h + 1.5 * h, F.softmax(h, -1)], -1)
        both = both.view(-1, 2, 8).transpose(1, 2).reshape(-1, 16)
        q = both.view(-1, 1, 2, 8)
        h = F.scaled_dot_product_attention(q, q, q).reshape(-1, 16)
        h = h.clone()
        h.mul_(0.5)
        return self.out(h)


def entries():
    ledger = measure(Functional(), (torch.randn(5, 4), torch.arange(5) % 3), loss=F.cross_entropy)
    return ledger.operations


def line(text):
    lines, start = inspect.getsourcelines(Functional.forward)
    return f"test_names.py:{start + next(i for i, code in enumerate(lines) if text in code)}"


def test_functional_operations_are_seen_with_their_source_line():
    found = {(e.op, e.line) for e in entries()}
    assert ("relu", line("F.relu")) in found
    assert ("add", line("torch.cat")) in found
    assert ("cat", line("torch.cat")) in found
    assert ("softmax", line("torch.cat")) in found
    assert ("scaled_dot_product_attention", line("scaled_dot")) in found
    assert ("mul", line("h.mul_")) in found


def test_modules_own_their_operations_by_path():
    found = {(e.path, e.op) for e in entries()}
    assert ("inner.lift", "linear") in found
    assert ("out", "linear") in found
    assert ("", "relu") in found


def test_inner_operations_of_a_composite_keep_their_own_name():
    assert [e.op for e in entries()[:2]] == ["cross_entropy", "log_softmax"]


def test_a_weight_applied_by_another_module_belongs_to_the_one_that_holds_it():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    paths = [w.path for w in measure(model, torch.randn(3, 5, 8)).weights]
    assert "self_attn" in paths
    assert "self_attn.out_proj" in paths


def test_a_module_outside_the_model_begins_with_its_class():
    critic = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    generator = nn.Linear(4, 6)
    ledger = measure(generator, step=lambda g: -critic(g(torch.randn(7, 4))).mean())
    assert "Sequential.0" in {e.path for e in ledger.operations}
