"""fadeout: finds where a network's gradient fades out, says why with proof, and brings it back.

A lazy table of public names: importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fadeout.version import VERSION as __version__

if TYPE_CHECKING:
    from fadeout.errors import FadeoutError, ModelError
    from fadeout.examine import examine
    from fadeout.forecast.prediction import predict
    from fadeout.probe.measure import measure
    from fadeout.records import Exam, Finding, Ledger
    from fadeout.report import compare, report
    from fadeout.rules import diagnose
    from fadeout.store import load, save

_NAMES = {
    "Exam": "fadeout.records",
    "FadeoutError": "fadeout.errors",
    "Finding": "fadeout.records",
    "Ledger": "fadeout.records",
    "ModelError": "fadeout.errors",
    "compare": "fadeout.report",
    "diagnose": "fadeout.rules",
    "examine": "fadeout.examine",
    "load": "fadeout.store",
    "measure": "fadeout.probe.measure",
    "predict": "fadeout.forecast.prediction",
    "report": "fadeout.report",
    "save": "fadeout.store",
}

__all__ = [
    "Exam", "FadeoutError", "Finding", "Ledger", "ModelError", "__version__", "compare", "diagnose",
    "examine", "load", "measure", "predict", "report", "save",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"fadeout has no {name!r}; it has {', '.join(sorted(_NAMES))}")
    value = getattr(import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
