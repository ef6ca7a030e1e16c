"""Plans: what helps the networks that the literature agrees on, and what one exam of a copy rules out."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.treatments import TREATMENTS
from fingerprints import difference, fingerprint


@pytest.fixture(scope="module")
def network_a():
    """20 sigmoid layers as torch draws them, on batches of noise with ten classes."""
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(64, 64), nn.Sigmoid())], nn.Linear(64, 10))
    batch = torch.randn(128, 64), torch.randint(0, 10, (128,))
    return model, batch, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


@pytest.fixture(scope="module")
def plan_of_a(network_a):
    model, batch, optimizer = network_a
    before = fingerprint(model, optimizer)
    found = fadeout.plan(model, batch, loss=F.cross_entropy, optimizer=optimizer)
    assert difference(before, fingerprint(model, optimizer)) == ""
    return found


@pytest.mark.parametrize("treatment", ["relu", "selu", "tanh", "batch_norm", "centred_sigmoid"])
def test_what_cures_a_deep_sigmoid_network_is_planned(plan_of_a, treatment):
    entry = next(e for e in plan_of_a.entries if e.treatment == treatment)
    assert abs(entry.measured.decades) <= 2 and entry.measured.verdict == "flows" and entry.reason


@pytest.mark.parametrize("treatment", ["layer_norm", "glorot_init", "he_init", "lsuv"])
def test_what_keeps_the_sigmoid_as_it_is_will_not_help_and_the_number_says_so(plan_of_a, treatment):
    entry = next(e for e in plan_of_a.wont_help if e.treatment == treatment)
    assert entry.measured.decades < -5 and "vanishing" in entry.reason


def test_bundles_come_first_and_theory_agrees_with_what_was_measured(plan_of_a):
    assert [e.treatment for e in plan_of_a.entries][:2] == ["init_layernorm_adam", "init_batchnorm_adam"]
    known = [e for e in plan_of_a.entries if math.isfinite(e.predicted.decades)]
    assert len(known) >= 5
    assert all(abs(e.predicted.decades - e.measured.decades) < 1.5 for e in known)


def test_the_first_of_the_plan_brings_the_gradient_back_and_is_undone(network_a, plan_of_a):
    model, batch, optimizer = (copy.deepcopy(thing) for thing in network_a)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = fingerprint(model, optimizer)
    receipt = fadeout.treat(model, plan_of_a.first, batch, loss=F.cross_entropy, optimizer=optimizer)
    assert fadeout.examine(model, batch, loss=F.cross_entropy).verdict == "flows"
    receipt.undo()
    assert difference(before, fingerprint(model, optimizer)) == ""
    assert fadeout.examine(model, batch, loss=F.cross_entropy).verdict == "vanishing"


def test_an_exam_alone_gives_an_order_without_measurements(network_a):
    model, batch, optimizer = network_a
    exam = fadeout.examine(model, batch, loss=F.cross_entropy, optimizer=optimizer)
    found = fadeout.plan(exam)
    assert found.entries and not found.wont_help
    assert all(math.isnan(e.measured.decades) for e in found.entries)


def test_a_linear_recurrence_that_forgets_within_a_token_is_given_its_dt_first():
    transformers = pytest.importorskip("transformers")
    ids = torch.randint(1, 60, (2, 12), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    config = transformers.BambaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=60, mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1, attn_layer_indices=[1],
    )  # fmt: skip
    model = transformers.BambaForCausalLM(config)
    batch = {"input_ids": ids, "labels": ids}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    few = [t for t in TREATMENTS if t.id in ("dt_bias", "slower", "layer_norm", "init_adam", "clip")]
    assert fadeout.plan(model, batch, optimizer=optimizer, treatments=few).first == "dt_bias"


def test_wrong_calls_say_what_to_do():
    model = nn.Linear(3, 2)
    with pytest.raises(fadeout.FadeoutError, match="no treatment 'relux'"):
        fadeout.treat(model, "relux")
    with pytest.raises(fadeout.FadeoutError, match="pass a batch"):
        fadeout.treat(model, "critical_init")
    with pytest.raises(fadeout.FadeoutError, match="no optimizer"):
        fadeout.treat(model, "slower", (torch.randn(4, 3), torch.randn(4, 2)), loss=F.mse_loss)


def test_wrapped_models_are_unwrapped_or_refused():
    model = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(8, 8), nn.Sigmoid())], nn.Linear(8, 3))
    batch = torch.randn(16, 8), torch.randint(0, 3, (16,))
    receipt = fadeout.treat(nn.DataParallel(model), "relu", batch, loss=F.cross_entropy)
    assert isinstance(model[1], nn.ReLU) and any("DataParallel" in note for note in receipt.notes)
    receipt.undo()
    assert isinstance(model[1], nn.Sigmoid)

    class FullyShardedDataParallel(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    with pytest.raises(fadeout.FadeoutError, match="before it is wrapped"):
        fadeout.treat(FullyShardedDataParallel(model), "relu", batch, loss=F.cross_entropy)
    with pytest.raises(fadeout.FadeoutError, match="lazy"):
        fadeout.treat(nn.Sequential(nn.LazyLinear(3)), "relu", batch, loss=F.cross_entropy)


def test_a_loop_that_detaches_its_state_is_given_its_graph_back():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRUCell(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = x.new_zeros(len(x), 8)
            for step in x.unbind(1):
                h = self.cell(step, h.detach())
            return self.head(h)

    torch.manual_seed(0)
    model, batch = Loop(), (torch.randn(16, 10, 4), torch.randint(0, 3, (16,)))
    before = [p.grad for p in _backward(model, batch)]
    receipt = fadeout.treat(model, "keep_graph", batch, loss=F.cross_entropy)
    assert "leave out .detach()" in receipt.recipe[0] and "test_planning.py" in receipt.recipe[0]
    after = [p.grad for p in _backward(model, batch)]
    assert not torch.equal(before[1], after[1])  # the recurrent weight hears of more than the last step
    x = batch[0].clone().requires_grad_(True)
    F.cross_entropy(model(x), batch[1]).backward()
    assert bool((x.grad[:, 0] != 0).any())
    receipt.undo()
    again = [p.grad for p in _backward(model, batch)]
    assert all(torch.equal(a, b) for a, b in zip(before, again, strict=True))


def _backward(model, batch):
    model.zero_grad()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    return list(model.parameters())


def test_the_command_says_the_plan_and_json_holds_it(tmp_path):
    import json
    import subprocess
    import sys

    source = (
        "from torch import nn\n\n\ndef build():\n    pairs = ((nn.Linear(64, 64), nn.Sigmoid()) for _ in range(8))\n"
    )
    source += "    hidden = [m for pair in pairs for m in pair]\n"
    (tmp_path / "net.py").write_text(source + "    return nn.Sequential(*hidden, nn.Linear(64, 10))\n")
    command = [sys.executable, "-m", "fadeout", "examine", "net.py:build", "--data", "digits", "--plan"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "to try, in this order" in said and "will not help:" in said and "fadeout treat net.py:build" in said
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    data = json.loads(done.stdout)
    assert data["plan"][0].keys() == {"treatment", "title", "predicted", "measured", "reason"}
    assert data["plan"][0]["measured"].keys() >= {"decades", "effective_depth"} and data["wont_help"]
