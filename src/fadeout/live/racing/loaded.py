"""Loaded: whether a script's network begins with weights that were trained already."""

import functools
from pathlib import Path
from typing import Any

from torch import nn

from fadeout.live.racing.first_call import Meeting


class Loaded:
    """Notes which modules load weights, until it is told to stop."""

    def __init__(self) -> None:
        self._modules: list[nn.Module] | None = []

    def begin(self) -> None:
        """From now on."""
        load = nn.Module.load_state_dict

        @functools.wraps(load)
        def loading(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._modules is not None:
                self._modules.append(module)
            return load(module, *args, **kwargs)

        nn.Module.load_state_dict = loading  # type: ignore[assignment,method-assign]

    def why(self, meeting: Meeting, files: list[str]) -> str:
        """Why a network counts as trained; "" where it does not.

        Args:
            files: Files of weights that were read.
        """
        modules, self._modules = self._modules or [], None  # what is loaded from now on comes after the start
        own = {id(m) for m in meeting.model.modules()} | {id(meeting.called)}
        if any(id(m) in own for m in modules):
            return "its weights were loaded with load_state_dict"
        names = [getattr(getattr(m, "config", None), "_name_or_path", "") for m in meeting.model.modules()]
        if any(isinstance(name, str) and name for name in names):
            return "its weights were loaded with from_pretrained"
        return f"weights were read from {Path(files[0]).name}" if files else ""
