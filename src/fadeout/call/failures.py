"""Failures: what the user's own code raised, as one sentence with its place and a hint."""

import sys
import sysconfig

import torch

from fadeout.errors import ModelError

LONGEST = 500  # characters of an error that are repeated
_OURS = sys.modules["fadeout"].__path__[0] + "/"
_LIBRARIES = (
    torch.__file__.rsplit("/", 1)[0] + "/",
    *{sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")},
)


def model_error(verb: str, where: str, error: BaseException, path: str) -> ModelError:
    """The error that the user is told.

    Args:
        where: "forward", "loss" or "backward".
        path: The module it happened in; "" outside of any.
    """
    module = f" in {path!r}" if path else ""
    first = first_line(error)
    return ModelError(
        f"{verb}: the model failed in its {where}{module}: {type(error).__name__}: {first}{hint(first, where)}"
        f"{at_line(error)}"
    )


def is_installed(file: str) -> bool:
    """Whether a file belongs to Python, an installed package or us, and not to the user."""
    return file.startswith((*_LIBRARIES, _OURS, "<frozen"))


def at_line(error: BaseException) -> str:
    """' (net.py:41)': the innermost line of the user's own that an error went through; "" where there is none."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (is_installed(file) or file[:1] == "<"):
            found = f" ({file.rsplit('/', 1)[-1]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


def first_line(error: BaseException) -> str:
    """What an error says, without what follows; the whole stands in `__cause__`."""
    text = next(iter(str(error).strip().splitlines()), "")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


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
