"""Parcels: cases and jobs as bytes for another process, which may not have imported what the script has."""

import pickle
import sys
from typing import Any

from fadeout.errors import FadeoutError

FROM_FILE = "fadeout_target_"  # names of modules that the command line made of a file: see target


def packed(value: Any, *, what: str) -> bytes:
    """Bytes of a value; functions and classes of a script or notebook travel with their code.

    Raises:
        FadeoutError: If it can't travel, with what to do.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise FadeoutError(
            "trial: other processes need cloudpickle; pip install cloudpickle, or engine='here'"
        ) from error
    for name, module in list(sys.modules.items()):
        if name.startswith(FROM_FILE) and module is not None:  # no other process can import it by this name
            cloudpickle.register_pickle_by_value(module)
    try:
        found: bytes = cloudpickle.dumps((list(sys.path), cloudpickle.dumps(value)))
    except Exception as error:  # whatever the user's objects hold
        raise FadeoutError(
            f"trial: {what} can't be sent to another process ({type(error).__name__}: {str(error)[:120]}); "
            "make it in a function of the module, or use engine='here'"
        ) from error
    return found


def unpacked(parcel: bytes) -> Any:
    """The value, with the sender's import path behind our own."""
    path, inner = pickle.loads(parcel)
    sys.path.extend(place for place in path if place not in sys.path)
    return pickle.loads(inner)
