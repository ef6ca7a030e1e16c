"""Aside: draws of start weights that leave the script's own random numbers where they were."""

import functools
from collections.abc import Callable
from typing import Any

from fadeout.call.chance import kept_torch_state


def aside(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose random draws are its own; for the copy of a patched script that is only run as a proof."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with kept_torch_state():
            return function(*args, **kwargs)

    return run
