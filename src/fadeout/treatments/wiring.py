"""Wiring: activations that the user calls as functions, answered by another one while the model runs."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fadeout.treatments.anatomy import Site
from fadeout.treatments.skip import Skip

_TORCH = torch.__file__.rsplit("/", 1)[0] + "/"
_OURS = sys.modules["fadeout"].__path__[0] + "/"
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "selu": F.selu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Wiring:
    """Which calls are answered by what; entered and left by two hooks on the model, which a deep copy takes along.

    A call is known by its place in the user's code, so that loops and repeated modules are all treated.
    """

    def __init__(self) -> None:
        self.answers: dict[Site, str] = {}
        self.skips: dict[Site, Skip] = {}
        self.keeps: set[Site] = set()  # where detach() does nothing
        self._open: list[_Answering] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Wiring":
        twin = memo[id(self)] = Wiring()
        twin.answers = dict(self.answers)
        twin.keeps = set(self.keeps)
        twin.skips = {site: copy.deepcopy(skip, memo) for site, skip in self.skips.items()}
        return twin

    def attach(self, model: nn.Module) -> None:
        """Hooks on the outermost module."""
        model.register_forward_pre_hook(self.enter)
        model.register_forward_hook(self.leave, always_call=True)

    def swap(self, site: Site, old: str, new: str) -> bool:
        """Answer a call with another activation; False for one that works in place."""
        if old.endswith("_") or new not in FUNCTIONS:
            return False
        self.answers[site] = new
        return True

    def enter(self, module: nn.Module, args: Any) -> None:
        """The model's forward begins."""
        mode = _Answering(self.answers, self.skips, self.keeps)
        mode.__enter__()  # type: ignore[no-untyped-call]
        self._open.append(mode)

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        """It ended, or raised."""
        if self._open:
            self._open.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]


class _Answering(TorchFunctionMode):
    def __init__(self, answers: dict[Site, str], skips: dict[Site, Skip], keeps: set[Site]) -> None:
        super().__init__()
        self.answers = answers
        self.skips = skips
        self.keeps = keeps
        self._codes = {code for code, _ in (*answers, *skips, *keeps)}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if self._codes and name in _KNOWN and args and isinstance(args[0], Tensor):
            place = _place(self._codes)
            if name == "detach":
                return args[0] if place in self.keeps else func(*args, **(kwargs or {}))
            answer, skip = self.answers.get(place), self.skips.get(place)
            if answer is not None or skip is not None:
                out = FUNCTIONS[answer](args[0]) if answer is not None else func(*args, **(kwargs or {}))
                return out if skip is None else skip.add(out)
        return func(*args, **(kwargs or {}))


_KNOWN = frozenset(
    "sigmoid tanh relu relu6 leaky_relu gelu silu selu elu celu softplus hardtanh hardsigmoid hardswish mish softsign "
    "logsigmoid prelu rrelu threshold clamp erf log_sigmoid detach".split()
)


def _place(codes: Any) -> Site:
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, _OURS)) and file[:1] != "<":
            return (frame.f_code, frame.f_lasti) if frame.f_code in codes else (None, 0)
        frame = frame.f_back  # type: ignore[assignment]
    return None, 0
