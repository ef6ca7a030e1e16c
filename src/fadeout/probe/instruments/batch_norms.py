"""Batch norms: those whose statistics mean nothing."""

from typing import Any

from fadeout.call import privates
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.instrument import Instrument, Observed


class BatchNorms(Instrument):
    """Normalising one row by itself, or by statistics that were never taken."""

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"norms": _norms(seen)}


def _norms(seen: Observed) -> tuple[tuple[str, str], ...]:
    """Batch norms whose statistics mean nothing."""
    found = []
    for path, module in seen.subject.modules:
        if not isinstance(module, privates.BatchNorm) or id(module) not in seen.first.names.ran:
            continue
        counted = module.num_batches_tracked
        if module.training and seen.closure.samples == 1:
            found.append((readable_path(path), "normalises a batch of one by itself"))
        elif not module.training and counted is not None and int(counted) == 0:
            found.append((readable_path(path), "evaluates with running statistics that were never taken"))
    return tuple(found)
