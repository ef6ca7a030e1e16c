"""fadeout: finds where a network's gradient fades out, says why with proof, and brings it back.

A lazy table of public names: importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fadeout.version import VERSION as __version__

if TYPE_CHECKING:
    from fadeout.call.case import Case
    from fadeout.errors import FadeoutError, ModelError
    from fadeout.exams import examine, read
    from fadeout.forecast.prediction import predict
    from fadeout.live.watch import watch
    from fadeout.pages import compare, report
    from fadeout.planning import plan, treat
    from fadeout.probe.measurement import measure
    from fadeout.records import Exam, Finding, Ledger, Plan, Reading, Trial
    from fadeout.rules import RULES, Limits, diagnose
    from fadeout.store import load, save
    from fadeout.treatments import TREATMENTS, Receipt
    from fadeout.trials import trial

_NAMES = {
    "Case": "fadeout.call.case",
    "Plan": "fadeout.records",
    "Receipt": "fadeout.treatments",
    "TREATMENTS": "fadeout.treatments",
    "Trial": "fadeout.records",
    "plan": "fadeout.planning",
    "treat": "fadeout.planning",
    "Exam": "fadeout.records",
    "FadeoutError": "fadeout.errors",
    "Finding": "fadeout.records",
    "Ledger": "fadeout.records",
    "Limits": "fadeout.rules",
    "ModelError": "fadeout.errors",
    "RULES": "fadeout.rules",
    "Reading": "fadeout.records",
    "compare": "fadeout.pages",
    "diagnose": "fadeout.rules",
    "examine": "fadeout.exams",
    "load": "fadeout.store",
    "measure": "fadeout.probe.measurement",
    "predict": "fadeout.forecast.prediction",
    "read": "fadeout.exams",
    "report": "fadeout.pages",
    "save": "fadeout.store",
    "trial": "fadeout.trials",
    "watch": "fadeout.live.watch",
}

__all__ = [
    "RULES", "TREATMENTS", "Case", "Exam", "FadeoutError", "Finding", "Ledger", "Limits", "ModelError", "Plan",
    "Reading", "Receipt", "Trial", "__version__", "compare", "diagnose", "examine", "load", "measure", "plan",
    "predict", "read", "report", "save", "treat", "trial", "watch",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"fadeout has no {name!r}; it has {', '.join(sorted(_NAMES))}")
    value = getattr(import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
