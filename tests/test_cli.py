"""The command line as a user calls it: output, files, exit codes, and errors of one clear line."""

import json
import subprocess
import sys

import pytest

NET = """
import torch
import torch.nn.functional as F
from torch import nn

def sick():
    return nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(64, 64), nn.Sigmoid())), nn.Linear(64, 10))

def healthy():
    layers = []
    for _ in range(6):
        linear = nn.Linear(64, 64)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))

def whole():
    model = healthy()
    batch = (torch.randn(8, 64), torch.arange(8))
    return model, batch, F.cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1)

def tokens():
    return nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(16 * 7, 4))

def convolution():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))

def raises():
    raise RuntimeError("no weights here")

def nothing():
    return 3
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "net.py"
    path.write_text(NET)
    return path


def fadeout(*arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "fadeout", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, check=False, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_sick_network_ends_with_one_and_writes_what_was_asked_for(net, tmp_path):
    done = fadeout(
        "examine", f"{net}:sick", "--data", "digits", "--optimizer", "adam",
        "--html", tmp_path / "p.html", "--save", tmp_path / "a.json",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.strip().startswith("VANISHING")
    assert "FO101" in done.stdout
    page = (tmp_path / "p.html").read_text()
    assert "VANISHING" in page
    assert "vega" in page
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "vanishing"
    again = fadeout("examine", tmp_path / "a.json")
    assert again.returncode == 1
    assert "FO101" in again.stdout
    assert fadeout("report", tmp_path / "a.json", tmp_path / "q.html").returncode == 0
    table = fadeout("compare", tmp_path / "a.json", tmp_path / "a.json")
    assert table.returncode == 0
    assert "vanishing" in table.stdout


def test_a_healthy_network_ends_with_zero_in_few_lines(net):
    done = fadeout("examine", "net:healthy", "--data", "digits", cwd=net.parent)
    assert done.returncode == 0
    assert len(done.stdout.strip().splitlines()) <= 5


def test_json_is_the_contract_alone(net):
    done = fadeout("examine", f"{net}:whole", "--json")
    data = json.loads(done.stdout)
    assert done.returncode == 0
    assert data["schema"] == "fadeout.exam/1"
    assert data["environment"]["optimizer"].startswith("SGD")


@pytest.mark.parametrize(
    "options",
    [
        ("tokens", "--shape", "7", "--tokens", "50"),
        ("convolution", "--shape", "3,8,8", "--batch", "4"),
        ("convolution", "--data", "digits"),
        ("healthy", "--data", "digits", "--loss", "cross_entropy", "--within", "0"),
    ],
)
def test_data_of_other_shapes_is_made_to_fit(net, options):
    name, *rest = options
    assert fadeout("examine", f"{net}:{name}", *rest).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{net}:healthy"], 2, "returned no batch"),
        (["{net}:nope"], 2, "it has"),
        (["{net}"], 2, "names no factory"),
        (["nowhere.py:x"], 2, "no file"),
        (["no_such_package:x"], 2, "no module"),
        (["{net}:nothing"], 2, "returned int"),
        (["{net}:healthy", "--data", "cifar"], 2, "no data set 'cifar'"),
        (["{net}:healthy", "--shape", "a,b"], 2, "is no shape"),
        (["{net}:whole", "--loss", "nope"], 2, "has no loss 'nope'"),
        (["{net}:whole", "--optimizer", "nope"], 2, "no optimizer 'nope'"),
        (["{net}:whole", "--within", "encoder"], 2, "has no module 'encoder'"),
        (["{net}:whole", "--batch", "0"], 2, "--batch"),
        (["{net}:whole", "--html", "/none/x.html"], 2, "can't write"),
        (["gone.json"], 2, "can't read"),
        ([], 2, "target"),
        (["{net}:raises"], 3, "no weights here"),
        (["{net}:healthy", "--shape", "63"], 3, "check the shape"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_an_exit_code(net, arguments, code, words):
    done = fadeout("examine", *(a.format(net=net) for a in arguments))
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_version_and_help():
    assert fadeout("--version").stdout.startswith("fadeout 0")
    assert "examine" in fadeout("--help").stdout


KEYS = {
    "activation", "sigma_w", "sigma_b", "q", "chi", "xi_q", "xi_c", "phase", "trainable_depth", "decades", "stable",
}  # fmt: skip


def test_predict_prints_the_profile_of_an_initialisation():
    options = ["--activation", "tanh", "--sigma-w", "1.5", "--sigma-b", "0.05", "--depth", "50"]
    done = fadeout("predict", *options)
    assert done.returncode == 0
    assert "chaotic" in done.stdout
    data = json.loads(fadeout("predict", *options, "--json").stdout)
    assert data.keys() >= KEYS
    assert data["phase"] == "chaotic"
    assert data["q"] == pytest.approx(0.7984, abs=1e-3)
    assert len(data["profile"]) == 50


@pytest.mark.parametrize(("name", "sigma_w"), [("gelu", 1.40821), ("relu", 2**0.5), ("tanh", 1.0), ("softplus", None)])
def test_predict_names_the_critical_point_or_says_there_is_none(name, sigma_w):
    data = json.loads(fadeout("predict", "--activation", name, "--critical", "--json").stdout)
    assert data.keys() >= KEYS | {"reason"}
    if sigma_w is None:
        assert data["sigma_w"] is None
        assert "no critical point" in data["reason"]
        assert data["nearest"]["stable"]
    else:
        assert data["sigma_w"] == pytest.approx(sigma_w, abs=1e-4)


def test_predict_takes_an_activation_of_ones_own_and_a_model(net, tmp_path):
    (tmp_path / "act.py").write_text("import torch\n\ndef bent(x):\n    return torch.where(x > 0.5, x, 0.1 * x)\n")
    done = fadeout("predict", "--activation", f"{tmp_path}/act.py:bent", "--critical")
    assert done.returncode == 0
    assert "bent" in done.stdout
    data = json.loads(fadeout("predict", f"{net}:sick", "--data", "digits", "--json").stdout)
    assert data["decades"] == pytest.approx(-17, abs=0.5)
    assert len(data["layers"]) == 21


@pytest.mark.parametrize("suffix", ["svg", "json", "png", "html"])
def test_predict_writes_the_phase_diagram(suffix, tmp_path):
    path = tmp_path / f"d.{suffix}"
    assert fadeout("predict", "--activation", "tanh", "--diagram", path).returncode == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either a model"),
        (["--activation", "nope"], "no activation 'nope'"),
        (["--activation", "softmax"], "elementwise"),
        (["--activation", "tanh", "--sigma-w", "-1"], "sigma_w must be"),
        (["--activation", "tanh", "--sigma-b", "-1"], "sigma_b must be"),
        (["--activation", "tanh", "--depth", "1"], "at least two layers"),
        (["--activation", "tanh", "--diagram", "x.pdf"], "end it in"),
    ],
)
def test_a_wrong_prediction_is_one_clear_line(arguments, words):
    done = fadeout("predict", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_examine_can_fail_on_warnings_or_never(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def sick():\n"
        "    hidden = [p for _ in range(12) for p in (nn.Linear(64, 64), nn.Sigmoid())]\n"
        "    return nn.Sequential(*hidden, nn.Linear(64, 10))\n"
    )
    codes = {}
    for gate in ("alarm", "never", "anything"):
        args = [sys.executable, "-m", "fadeout", "examine", "net.py:sick", "--data", "digits", "--fail-on", gate]
        codes[gate] = subprocess.run(args, cwd=tmp_path, capture_output=True, check=False).returncode
    assert codes == {"alarm": 1, "never": 0, "anything": 2}
