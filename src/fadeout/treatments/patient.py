"""A patient: what a treatment is applied to, what it did, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.treatments.anatomy import Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One thing that was changed, for whoever writes it into the user's source.

    Attributes:
        what: "module" (a module was replaced), "function" (a call was replaced), "init" (weights were drawn anew),
            "norm" (a norm now follows a module), "skip" (a way around), "optimizer", "input", "output", "attribute".
        path: Dotted path of the module; "" for the whole model.
        old: What stood there: "Sigmoid", "sigmoid", "SGD".
        new: What stands there now, as an expression: "nn.ReLU()", "F.relu", "torch.optim.Adam(lr=0.01)".
        line: "net.py:12" of the user's call, where it is known.
        until: For "skip": the last module inside, where the way leads around more than the one at `path`.
    """

    what: str
    path: str
    old: str
    new: str
    line: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Receipt:
    """What a treatment changed, and the way back.

    Attributes:
        treatment: Its id.
        touched: Paths of the modules that were changed.
        edits: What was done, one by one.
        notes: What could not be done, and why.
        recipe: Lines for a person to change by hand, where a live network can't show the change.
        optimizer: One that takes the patient's place; None where that one stays, unchanged or changed in place.
        undo: Puts everything back bit for bit: weights, buffers, modules, hooks, optimizer, random state.
        optimizer: A new one to train with from now on; None: the patient's, as it was or changed in place.
    """

    treatment: str
    touched: tuple[str, ...]
    undo: Callable[[], None]
    edits: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = ()
    recipe: tuple[str, ...] = ()
    optimizer: Any = None

    def __repr__(self) -> str:
        done = f"{len(self.edits)} changes in {len(self.touched)} places"
        return f"Receipt({self.treatment!r}: {done}; undo() takes them back)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What a treatment is applied to.

    Attributes:
        model: The network itself, which is changed in place.
        optimizer: The one in use; None: only the network is treated.
        batch: A real batch, for what looks at data (LSUV, input statistics, shapes).
        loss: loss(output, y).
        step: model -> scalar, instead of batch and loss, where the loop computes its own.
        seed: Of a private generator; the global random state is never touched.
        anatomy: What a forward of this network has shown already, so that no treatment looks again.
    """

    model: nn.Module
    optimizer: Any = None
    batch: Any = None
    loss: Callable[..., Tensor] | None = None
    step: Callable[[nn.Module], Tensor] | None = None
    seed: int = 0
    anatomy: Anatomy | None = None

    def generator(self) -> torch.Generator:
        """A fresh one of the patient's seed."""
        return torch.Generator().manual_seed(self.seed)
