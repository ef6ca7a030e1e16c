"""Patches apply with git and build the treated network; what can't be written is said in sentences with lines."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from layer_cases import LAYERS
from other_cases import OTHERS
from patch_case import HEAD, X, edit
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.patches import apply_patch, patch_of
from fadeout.patches.program import run

PROGRAMS = LAYERS | OTHERS


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())


def load(folder, spec, monkeypatch):
    """The user's own import of a program."""
    monkeypatch.syspath_prepend(str(folder))
    for name in ("net", "blocks"):
        sys.modules.pop(name, None)
    file, name = spec.split(":")
    found = importlib.util.spec_from_file_location("net", folder / file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    made = getattr(module, name)()
    sys.modules.pop("blocks", None)
    return made if isinstance(made, tuple) else (made,)


def examine(model):
    """A stand-in for the exam: it only has to be the same for the same network."""
    return "flows", float(len(list(model.modules())) > 0)


@pytest.fixture(params=PROGRAMS, ids=str)
def program(request):
    return PROGRAMS[request.param]


def test_a_patch_applies_and_builds_the_treated_network(program, tmp_path, monkeypatch, capsys):
    write(tmp_path, program.files)
    treated, *_ = load(tmp_path, program.spec, monkeypatch)
    program.treat(treated, None)
    capsys.readouterr()
    patch = patch_of(f"{tmp_path}/{program.spec}", program.edits, treated=treated, examine=examine, root=tmp_path)
    assert not capsys.readouterr().out, "what the program prints would spoil --json"
    assert {n: (tmp_path / n).read_bytes().decode() for n in program.files} == program.files, "the disk is untouched"
    if program.recipe:
        assert not patch.files and not patch.diff and not patch.checked and patch.why
        assert all(any(said in line for line in patch.recipe) for said in program.recipe), patch.recipe
        return
    assert patch.checked and not patch.recipe, (patch.why, patch.recipe)
    for line in program.holds:
        assert line in patch.diff, patch.diff
    file = tmp_path / "out.diff"
    file.write_bytes(patch.diff.encode())
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--check", str(file)], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn", str(file)], cwd=tmp_path, check=True)
    for path, text in patch.files.items():
        assert Path(path).read_bytes().decode().removeprefix("\ufeff") == text
    model, *rest = load(tmp_path, program.spec, monkeypatch)
    shapes = [[tuple(p.shape) for p in m.parameters()] for m in (model, treated)]
    assert sorted(shapes[0]) == sorted(shapes[1])
    if shapes[0] == shapes[1] and rest and program.runs:
        with torch.no_grad():
            for mine, its in zip(model.parameters(), treated.parameters(), strict=True):
                mine.copy_(its)
        x = rest[0][0] if isinstance(rest[0], tuple) else rest[0]
        assert torch.allclose(model.eval()(x), treated.eval()(x), atol=1e-5)


def build_nets(folder, body):
    write(folder, {"net.py": HEAD + body})
    return f"{folder}/net.py:build"


RELU = (edit("module", "1", "Sigmoid", "nn.ReLU()"),)
PLAIN = f"def build():\n    return nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 2)), {X}\n"


def relu_net():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_patch_that_builds_something_else_is_a_recipe(tmp_path):
    patch = patch_of(
        build_nets(tmp_path, PLAIN), RELU, treated=nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))
    )
    assert not patch.files and "lacks GELU" in patch.why
    assert patch.recipe == ("net.py:6: write nn.ReLU() in place of nn.Sigmoid().",)


def test_a_patch_that_computes_something_else_is_a_recipe(tmp_path):
    class Wrap(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = relu_net()

        def forward(self, x):
            return 2 * self.net(x)

    patch = patch_of(build_nets(tmp_path, PLAIN), RELU, treated=Wrap())
    assert not patch.files and "other outputs" in patch.why


def test_an_exam_that_disagrees_three_times_is_a_recipe(tmp_path):
    verdicts = iter([("flows", 0.0), ("vanishing", -4.0), ("flows", -0.2), ("flows", 0.3)])
    spec = build_nets(tmp_path, PLAIN)
    assert patch_of(spec, RELU, treated=relu_net(), examine=lambda _: next(verdicts)).checked
    verdicts = iter([("flows", 0.0)] + [("vanishing", -4.0)] * 3)
    patch = patch_of(spec, RELU, treated=relu_net(), examine=lambda _: next(verdicts))
    assert not patch.checked and "vanishing with -4.0 decades" in patch.why


def test_text_that_can_not_be_parsed(tmp_path):
    patch = patch_of(build_nets(tmp_path, PLAIN + "\nif :\n"), RELU)
    assert not patch.files and "could not be run again" in patch.why and patch.recipe


def test_a_function_without_a_file(tmp_path):
    space = {}
    exec(compile(HEAD + PLAIN, "<stdin>", "exec"), space)
    patch = patch_of(space["build"], RELU, treated=relu_net())
    assert not patch.files and "no file of yours" in patch.recipe[0]
    assert "the line that makes module 1: write nn.ReLU() in place of nn.Sigmoid()." in patch.recipe[0]


def test_a_function_inside_another_is_told_with_its_line():
    def build():
        return nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 2))

    patch = patch_of(build, RELU, treated=relu_net())
    line = build.__code__.co_firstlineno + 1
    assert patch.recipe == (f"test_patches.py:{line}: write nn.ReLU() in place of nn.Sigmoid().",)
    assert "can't be imported again" in patch.why


def test_a_part_is_no_patch_but_an_optimizer_may_be_missing(tmp_path):
    adam = edit("optimizer", "", "SGD(lr=0.1)", "torch.optim.Adam(lr=0.01)")
    patch = patch_of(build_nets(tmp_path, PLAIN), (*RELU, adam), treated=relu_net(), root=tmp_path)
    assert patch.checked and "Adam" in patch.recipe[0] and "was not seen" in patch.recipe[0]
    odd = edit("telepathy", "0", "Linear", "better")
    patch = patch_of(build_nets(tmp_path, PLAIN), (*RELU, odd), treated=relu_net())
    assert not patch.files and len(patch.recipe) == 2 and "a part is not what was tested" in patch.why


def test_wrong_outcomes_of_the_optimizer_are_seen(tmp_path):
    body = f"def build():\n    m = nn.Sequential(nn.Linear(8, 2))\n    return m, {X}, None, "
    body += "torch.optim.SGD(m.parameters(), lr=0.1)\n"
    spec = build_nets(tmp_path, body)
    change = (edit("optimizer", "", "SGD(lr=0.1)", "torch.optim.SGD(lr=0.01)"),)
    treated = nn.Sequential(nn.Linear(8, 2))
    right, wrong = (torch.optim.SGD(treated.parameters(), lr=lr) for lr in (0.01, 0.02))
    assert patch_of(spec, change, treated=treated, optimizer=right).checked
    assert "rate [0.01], not [0.02]" in patch_of(spec, change, treated=treated, optimizer=wrong).why


def test_apply_keeps_backups_and_refuses_a_changed_file(tmp_path):
    patch = patch_of(build_nets(tmp_path, PLAIN), RELU, treated=relu_net())
    file = tmp_path / "net.py"
    file.chmod(0o640)
    (tmp_path / "net.py.orig").write_text("mine")
    assert apply_patch(patch) == (f"{file}.orig.1",)
    assert "nn.ReLU()" in file.read_text() and file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "net.py.orig").read_text() == "mine"
    assert (tmp_path / "net.py.orig.1").read_text() == HEAD + PLAIN
    with pytest.raises(FadeoutError, match="changed since"):
        apply_patch(patch)
    with pytest.raises(FadeoutError, match="nothing to apply"):
        apply_patch(patch_of(f"{file}:build", RELU))


def test_apply_keeps_the_encoding(tmp_path):
    text = "# -*- coding: latin-1 -*-\n# é\n" + HEAD + PLAIN
    (tmp_path / "net.py").write_bytes(text.encode("latin-1"))
    patch = patch_of(f"{tmp_path}/net.py:build", RELU, treated=relu_net())
    assert patch.checked, patch.why
    apply_patch(patch)
    assert (tmp_path / "net.py").read_bytes() == text.replace("nn.Sigmoid", "nn.ReLU").encode("latin-1")


def test_a_package_is_imported_as_one_and_put_back(tmp_path, monkeypatch):
    (tmp_path / "mypkg").mkdir()
    write(tmp_path / "mypkg", {"__init__.py": "", "blocks.py": HEAD + "def act():\n    return nn.Sigmoid()\n"})
    write(tmp_path / "mypkg", {"net.py": HEAD + "from .blocks import act\n\n" + PLAIN.replace("nn.Sigmoid()", "act()")})
    monkeypatch.syspath_prepend(str(tmp_path))
    from mypkg.net import build

    kept = sys.modules["mypkg.net"]
    patch = patch_of(build, RELU, treated=relu_net(), root=tmp_path)
    assert patch.checked, (patch.why, patch.recipe)
    assert [p.removeprefix(f"{tmp_path}/") for p in patch.files] == ["mypkg/blocks.py"]
    assert sys.modules["mypkg.net"] is kept and isinstance(build()[0][1], nn.Sigmoid)


def test_running_a_program_leaves_no_trace(tmp_path):
    begin, path, modules = nn.Module.__init__, list(sys.path), set(sys.modules)
    state = torch.get_rng_state()
    program = run(build_nets(tmp_path, PLAIN))
    assert nn.Module.__init__ is begin and sys.path == path and set(sys.modules) == modules
    assert torch.equal(torch.get_rng_state(), state)
    assert not any("_fadeout_site" in m.__dict__ for m in program.model.modules())
    assert not (tmp_path / "__pycache__").exists()
    assert program.sites["1"].place == "net.py:6" and program.sites["1"].direct


def test_a_shared_line_of_functions_needs_all_its_modules(tmp_path):
    block = "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    block += "        self.a = nn.Linear(8, 8)\n\n"
    block += "    def forward(self, x):\n        return torch.tanh(self.a(x))\n\n\n"
    spec = build_nets(tmp_path, block + f"def build():\n    return nn.Sequential(Block(), Block()), {X}\n")
    one = edit("function", "0", "tanh", "F.relu", "net.py:11")
    patch = patch_of(spec, (one,))
    assert not patch.files and "net.py:11: call F.relu in place of tanh." in patch.recipe[0]
    assert "1 runs the same line" in patch.recipe[0]
    both = patch_of(spec, (one, edit("function", "1", "tanh", "F.relu", "net.py:11")), root=tmp_path)
    assert "+        return nn.functional.relu(self.a(x))" in both.diff
