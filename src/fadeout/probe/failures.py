"""Failures: what the user's own code raised, as one sentence with its place and a hint."""

from fadeout.errors import ModelError
from fadeout.probe.names import Names


def model_error(verb: str, where: str, error: Exception, names: Names) -> ModelError:
    """The error that the user is told.

    Args:
        where: "forward" or "backward".
    """
    path = names.innermost
    if where == "forward" and not path and id(names.watched) in names.ran:
        where = "loss"  # the model itself had returned
    module = f" in {path!r}" if path else ""
    first = first_line(error)
    return ModelError(
        f"{verb}: the model failed in its {where}{module}: {type(error).__name__}: {first}{hint(first, where)}"
    )


def first_line(error: BaseException) -> str:
    """What an error says, without what follows."""
    text = str(error).strip().splitlines()
    return text[0] if text else ""


def hint(text: str, where: str) -> str:
    """'; what to look at', by what torch says."""
    low = text.lower()
    if "device" in text and ("same device" in text or "found at least two" in text):
        return "; move the batch to the model's device"
    if "shape" in low or "size" in low or "dimension" in low:
        return "; check the shape of the batch"
    if "out of bounds" in text and where in ("loss", "step"):
        return "; a label is outside the number of classes"
    if "second time" in text:
        return "; a step= closure returns the scalar and leaves backward() to fadeout"
    if "dtype" in low or "scalar type" in low:
        return "; check the dtype of the batch against the model's"
    return ""
