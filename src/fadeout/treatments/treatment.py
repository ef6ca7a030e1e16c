"""A treatment: one change to a network or its training, which can be taken back, and the receipt for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError
from fadeout.records import Exam

if TYPE_CHECKING:
    from fadeout.treatments.anatomy import Anatomy
    from fadeout.treatments.surgery import Surgery

Part = Literal["init", "activation", "norm", "skip", "recurrence", "optimizer", "precision", "input", "output"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
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
    anatomy: "Anatomy | None" = None

    def generator(self) -> torch.Generator:
        """A fresh one of the patient's seed."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """The base of every treatment: a frozen value.

    Attributes:
        id: As it is called on the command line and in JSON.
        title: As a reader is told.
        parts: What it changes; a bundle changes several.
        source: Paper and equation.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    parts: ClassVar[tuple[Part, ...]]
    source: ClassVar[str] = ""

    def applies_to(self, exam: Exam) -> str | None:
        """Why it is worth trying on this network; None where it does not apply."""
        raise NotImplementedError

    @property
    def pieces(self) -> tuple[str, ...]:
        """Ids of what it is made of; () where it is one thing."""
        return ()

    def explain(self) -> str:
        """What it does, in a sentence."""
        raise NotImplementedError

    def operate(self, on: "Surgery") -> None:
        """Make the change; whatever it raises, the surgery takes back what was done.

        Raises:
            FadeoutError: If there is nothing to change.
        """
        raise NotImplementedError

    def apply(self, patient: Patient) -> Receipt:
        """Change the patient in place.

        Raises:
            FadeoutError: If it can't be done; nothing is changed then.
        """
        from fadeout.treatments.surgery import Surgery  # which knows this file

        with Surgery(patient) as surgery:
            self.operate(surgery)
            if not (surgery.edits or surgery.recipe):
                raise FadeoutError(f"{self.id}: there is nothing in this model that it would change")
        return surgery.receipt(self.id)
