"""Paste: the one line of code that follows a finding's advice, where there is one that fits any model."""

import math
from collections.abc import Callable

from fadeout.records import Exam, Finding

_RECTIFIERS = ("relu", "leaky_relu", "gelu", "silu", "elu", "relu6", "celu", "mish", "hardswish")
_BOUNDED = ("tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid", "erf")
_REDRAWN = ("Linear", "Conv1d", "Conv2d", "Conv3d")
USUAL = 1e-3  # update over weight, by a rule of thumb


def line(finding: Finding, exam: Exam) -> str:
    """Python to paste into a training script with `model` and `optimizer`; "" where no line fits."""
    found = _LINES.get(finding.code)
    return found(finding, exam) if found else ""


def _redraw(finding: Finding, exam: Exam) -> str:
    if finding.cause and finding.cause[0].kind != "weight":
        return ""
    kinds = [layer.kind for layer in exam.layers if layer.kind in _REDRAWN]
    acts = [layer.activation for layer in exam.layers if layer.activation in _RECTIFIERS + _BOUNDED]
    if not kinds or not acts:
        return ""
    draw = "kaiming_normal_" if max(set(acts), key=acts.count) in _RECTIFIERS else "xavier_normal_"
    kind = max(sorted(set(kinds)), key=kinds.count)
    return f"[nn.init.{draw}(m.weight) for m in model.modules() if isinstance(m, nn.{kind})]"


def _growing(finding: Finding, exam: Exam) -> str:
    if finding.cause:
        return _redraw(finding, exam)
    return "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # before optimizer.step()"


def _rate(finding: Finding, exam: Exam) -> str:
    value = finding.evidence[0].value if finding.evidence else math.nan
    if not (math.isfinite(value) and value > 0):
        return ""
    return f'for group in optimizer.param_groups: group["lr"] *= {USUAL / value:.0e}'


def _half(finding: Finding, exam: Exam) -> str:
    device = exam.environment.device.partition(":")[0]
    return f'with torch.autocast("{device}", dtype=torch.bfloat16):' if device.isalpha() else ""


def _eps(finding: Finding, exam: Exam) -> str:
    return 'for group in optimizer.param_groups: group["eps"] = 1e-12'


def _register(finding: Finding, exam: Exam) -> str:
    held = {path.rpartition(".")[2].partition("[")[0] for path in finding.where if "[" in path}
    if len(held) != 1 or not (name := held.pop()).isidentifier() or any('["' in p or "['" in p for p in finding.where):
        return ""
    return f"self.{name} = nn.ModuleList(self.{name})"


def _all_parameters(finding: Finding, exam: Exam) -> str:
    name, _, rate = exam.environment.optimizer.partition(" lr ")
    if not name.isidentifier() or not rate:
        return ""
    return f"optimizer = torch.optim.{name}(model.parameters(), lr={rate})"


def _step(finding: Finding, exam: Exam) -> str:
    return "loss.backward(); optimizer.step(); optimizer.zero_grad()"


_LINES: dict[str, Callable[[Finding, Exam], str]] = {
    "FO101": _redraw,
    "FO102": _growing,
    "FO107": _redraw,
    "FO205": _half,
    "FO206": _eps,
    "FO209": _rate,
    "FO220": _register,
    "FO221": _all_parameters,
    "FO301": _rate,
    "FO303": _step,
}
