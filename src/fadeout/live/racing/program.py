"""A script as a factory: run up to its network's first training forward, it gives the network and its optimizer.

`patch_of` runs a factory several times, with other texts for some of its files; this one runs the user's script.
"""

import contextlib
import functools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fadeout.errors import FadeoutError
from fadeout.live.racing.first_call import FirstCalls, Meeting


@dataclass(slots=True)
class _Asked:
    """The script that `fadeout_script` runs, and the meeting of its last run."""

    script: str = ""
    argv: tuple[str, ...] = ()
    met: list[Meeting] = field(default_factory=list)


ASKED = _Asked()


class _Reached(BaseException):
    """The first forward is due: the script has done what it was run for."""


def ask(script: str, argv: tuple[str, ...]) -> None:
    """Which script is meant; rewrites take the factory's file from its code."""
    ASKED.script, ASKED.argv = str(Path(script).resolve()), argv
    fadeout_script.__code__ = fadeout_script.__code__.replace(co_filename=ASKED.script)


def fadeout_script() -> tuple[Any, ...]:
    """(network, optimizer), as the script makes them.

    Raises:
        FadeoutError: If it never comes to a training forward.
        Exception: What the script raises.
    """
    return _run()


def _run() -> tuple[Any, ...]:
    met: list[Meeting] = []

    def reached(meeting: Meeting) -> None:
        met.append(meeting)
        raise _Reached

    first = FirstCalls(reached)
    made = Optimizer.__init__

    @functools.wraps(made)
    def told(optimizer: Any, *args: Any, **kwargs: Any) -> None:
        made(optimizer, *args, **kwargs)
        first.made(optimizer)

    kept = sys.modules.get("__main__"), list(sys.argv)
    call = nn.Module.__call__
    Optimizer.__init__ = told  # type: ignore[assignment,method-assign]
    try:
        with contextlib.suppress(_Reached):
            _execute()
    except SystemExit:
        pass
    except Exception:
        if not met:
            raise  # else the script's own cleaning up stumbled over being left in the middle
    finally:
        Optimizer.__init__ = made  # type: ignore[method-assign]
        first.close()
        nn.Module.__call__ = call  # type: ignore[method-assign]
        sys.argv[:] = kept[1]
        if kept[0] is not None:
            sys.modules["__main__"] = kept[0]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if not met:
        raise FadeoutError("the script came to no training forward when it was run once more in a single process")
    ASKED.met = met
    optimizers = met[0].optimizers
    return (met[0].model, optimizers[0]) if len(optimizers) == 1 else (met[0].model,)


def _execute() -> None:
    """The script as `__main__`; its patched copy where a patch is tried."""
    copies: dict[str, str] = next((finder.copies for finder in sys.meta_path if hasattr(finder, "copies")), {})
    path = copies.get(ASKED.script, ASKED.script)
    main = ModuleType("__main__")
    main.__file__ = ASKED.script
    sys.modules["__main__"] = main
    sys.argv[:] = [ASKED.script, *ASKED.argv]
    sys.path.insert(0, str(Path(ASKED.script).parent))
    code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
    exec(code, main.__dict__)
