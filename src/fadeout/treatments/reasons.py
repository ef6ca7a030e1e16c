"""Reasons: why a treatment is worth trying on a network, as far as its exam tells."""

from fadeout.records import Exam

_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm")


def layers(exam: Exam) -> str | None:
    """Any network with layers."""
    return f"it has {exam.weight_layers} layers with weights" if exam.weight_layers else None


def using(exam: Exam, activation: str) -> str | None:
    """One that uses an activation."""
    count = sum(layer.activation == activation for layer in exam.layers)
    return f"{count} of its layers are read by {activation}" if count else None


def other_than(exam: Exam, activation: str) -> str | None:
    """One that uses activations other than this."""
    names = sorted({layer.activation for layer in exam.layers if layer.activation not in ("", activation)})
    return f"its activations are {', '.join(names)}" if names else None


def having(exam: Exam, kind: str, *, exact: bool = False) -> str | None:
    """One with layers of a kind."""
    count = sum(layer.kind in (kind, f"{kind}Cell") if exact else kind in layer.kind for layer in exam.layers)
    return f"it has {count} layers of kind {kind}" if count else None


def without_norms(exam: Exam) -> str | None:
    """One with a hidden layer that no norm follows."""
    by_kind = dict(exam.ledger.by_kind)
    if any(layer.activation for layer in exam.layers):
        return "activations follow its layers" + ("" if by_kind.get("norm") else ", and no norm stands between")
    return None


def no_blocks(exam: Exam) -> str | None:
    """A chain: no residual blocks yet."""
    if exam.effective_blocks is not None and exam.effective_blocks.blocks:
        return None
    return f"its {exam.weight_layers} layers follow one another with no way around" if exam.weight_layers > 2 else None


def trained(exam: Exam) -> str | None:
    """One whose optimizer is known."""
    return (
        f"it is trained by {exam.environment.optimizer}" if exam.environment.optimizer else "its optimizer may not fit"
    )


def narrow(exam: Exam) -> str | None:
    """Gradients in float16."""
    return "its gradients pass through float16" if "16" in exam.environment.dtype else None


def gates(exam: Exam) -> str | None:
    """LSTM or GRU."""
    count = sum(layer.kind.startswith(("LSTM", "GRU")) for layer in exam.layers)
    return f"it has {count} gated recurrent layers" if count else None


def linear_recurrence(exam: Exam) -> str | None:
    """Gates of a linear recurrence that forget within few tokens."""
    spans = [row.gate_horizon for row in exam.time if row.gate_horizon is not None]
    found = [s for s in spans if "torch" not in s.family and s.family not in ("LSTM", "GRU")]
    return f"{len(found)} of its layers are linear recurrences" if found else None
