"""Surgery: changes to a live network by module path, written down so that they can be taken back."""

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import Optimizer

from fadeout.call import privates
from fadeout.call.question import Question
from fadeout.call.subject import unwrapped
from fadeout.errors import FadeoutError
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.updates import optimizers_in
from fadeout.treatments.anatomy import Activation, Anatomy, anatomy
from fadeout.treatments.patient import Edit, Patient, Receipt
from fadeout.treatments.snapshot import Snapshot
from fadeout.treatments.wiring import Wiring

Hook = Callable[..., Any]
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

_STANDING: "weakref.WeakKeyDictionary[nn.Module, list[Surgery]]" = weakref.WeakKeyDictionary()  # not undone yet


class Surgery:
    """One operation on a patient: what it changes is put back if it fails, and can be put back later.

    Attributes:
        model: The network without wrappers.
        optimizers: What trains it.
        activation: By weight layer the name of the activation that reads it now; "" for none.
        notes, recipe, edits: For the receipt.
    """

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.model, self.notes = unwrapped(patient.model)
        if any(type(m).__name__ == "FullyShardedDataParallel" for m in patient.model.modules()):
            raise FadeoutError(
                "treat: the model is wrapped by FSDP, which holds only a part of each weight; "
                "treat the model before it is wrapped"
            )
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in self.model.parameters()):
            raise FadeoutError("treat: the model has lazy modules; run it on one batch first, so that they get weights")
        self.optimizers: list[Optimizer] = optimizers_in(patient.optimizer) if patient.optimizer is not None else []
        self.recipe: list[str] = []
        self.edits: list[Edit] = []
        self.touched: dict[str, None] = {}
        self.new_optimizer: Any = None
        self.draw = patient.generator()
        self._anatomy: Anatomy | None = None
        self.activation: dict[str, str] = {}
        self._wiring: Wiring | None = None
        self._snapshot = Snapshot(self.model.modules(), self.optimizers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._snapshot.restore()

    def receipt(self, name: str) -> Receipt:
        """What was done."""
        _STANDING.setdefault(self.model, []).append(self)
        return Receipt(
            treatment=name,
            touched=tuple(self.touched),
            undo=self._undo,
            edits=tuple(self.edits),
            notes=tuple(dict.fromkeys(self.notes)),
            recipe=tuple(dict.fromkeys(self.recipe)),
            optimizer=self.new_optimizer,
        )

    def _undo(self) -> None:
        """Put everything back; a second time nothing happens.

        Raises:
            FadeoutError: If a later treatment of the same model still stands.
        """
        standing = _STANDING.get(self.model, [])
        if self not in standing:
            return
        if standing[-1] is not self:
            raise FadeoutError("undo: another treatment was applied after this one; undo that one first")
        standing.pop()
        self._snapshot.restore()

    # ---- what there is

    @property
    def anatomy(self) -> Anatomy:
        """The network as it was before the operation."""
        if self._anatomy is None:
            self._anatomy = self.patient.anatomy
            batch, loss = self.patient.batch, self.patient.loss
            if self._anatomy is None and batch is None and self.patient.step is None:
                raise FadeoutError("treat: this treatment looks at a forward pass; pass a batch")
            if self._anatomy is None:
                question = Question(verb="treat", model=self.model, batch=batch, loss=loss)
                if self.patient.step is not None:
                    question = Question(verb="treat", model=self.model, step=self.patient.step)
                self._anatomy = anatomy(question)
            for path in self._anatomy.weights:
                reader = self._anatomy.reader(path)
                self.activation[path] = reader.name if reader is not None and reader.role == "hidden" else ""
        return self._anatomy

    def at(self, path: str) -> nn.Module:
        """The module at a readable path."""
        for own, module in self.model.named_modules():
            if readable_path(own) == path:
                found: nn.Module = module
                return found
        raise FadeoutError(f"treat: there is no module {path!r}")

    def layers(self) -> list[tuple[str, nn.Module]]:
        """Trained Linear and Conv layers on the way, data side first, each once; tied and parametrised ones stay."""
        found: dict[int, tuple[str, nn.Module]] = {}
        embedded = {id(m.weight) for m in self.model.modules() if isinstance(m, nn.Embedding)}
        for path in self.anatomy.weights:
            module = self.at(path)
            if not isinstance(module, WEIGHTED) or not isinstance(module.weight, Tensor):
                continue
            if is_parametrized(module) or not isinstance(privates.parameters(module).get("weight"), nn.Parameter):
                self.notes.append(f"{path or 'the model'} has a parametrised weight and was left as it is")
            elif not module.weight.requires_grad:
                self.notes.append(f"{path or 'the model'} is frozen and was left as it is")
            elif id(module.weight) in embedded:
                self.notes.append(f"{path or 'the model'} shares its weight with an embedding and was left as it is")
            elif id(module.weight) not in {id(m.weight) for _, m in found.values()}:
                found[id(module)] = (path, module)
        return list(found.values())

    def longest(self) -> int:
        """Steps of the longest sequence that a recurrent layer read; 0 where none did."""
        recurrent = {path for path, m in self.model.named_modules() if isinstance(m, nn.RNNBase)}
        found = [self.anatomy.sequence.get(path, 0) for path in recurrent]
        return max(found, default=0)

    # ---- changes

    def write(self, edit: Edit) -> None:
        """Note a change that was made."""
        self.edits.append(edit)
        self.touched[edit.path] = None

    def replace(self, path: str, new: nn.Module, *, old: str, expression: str) -> None:
        """Put a module in the place of another, everywhere it stands, with its mode."""
        old_module = self.at(path)
        new.train(old_module.training)
        privates.carry_hooks(old_module, new)
        places = [
            (m, name) for m in self.model.modules() for name, c in privates.children(m).items() if c is old_module
        ]
        if not places:
            raise FadeoutError("treat: the model itself can't be replaced; treat a module inside it")
        for parent, name in places:
            privates.children(parent)[name] = new
        for parent in self.model.modules():  # plain attributes that hold the same module
            for name, value in list(parent.__dict__.items()):
                if value is old_module:
                    parent.__dict__[name] = new
        self.write(Edit(what="module", path=path, old=old, new=expression))

    def append(self, module: nn.Module, name: str, child: nn.Module, hook: Hook) -> None:
        """Give a layer a part of ours, which a forward hook runs; its parameters train with the layer's."""
        if name in privates.children(module):
            raise FadeoutError(f"treat: {type(module).__name__} has a {name} already; undo the first treatment")
        reference = next((p for p in module.parameters() if p.is_floating_point()), None)
        if reference is not None:
            child.to(device=reference.device, dtype=reference.dtype)
        child.train(module.training)
        module.add_module(name, child)
        module.register_forward_hook(hook)
        self.train_too(reference, list(child.parameters()))

    def train_too(self, beside: Tensor | None, new: list[nn.Parameter]) -> None:
        """New parameters in the optimizer's group of a neighbour, so that a schedule goes for them as well."""
        for optimizer in self.optimizers:
            groups = [g for g in optimizer.param_groups if any(p is beside for p in g["params"])]
            if groups:
                groups[0]["params"].extend(p for p in new if all(p is not q for q in groups[0]["params"]))
                return
        if self.optimizers and new and not self.notes_has("no optimizer"):
            self.notes.append("no optimizer holds the treated layer; give its new parameters to one yourself")

    def notes_has(self, beginning: str) -> bool:
        """Whether that was said already."""
        return any(note.startswith(beginning) for note in self.notes)

    def exchange(self, old: list[nn.Parameter], new: list[nn.Parameter]) -> None:
        """Parameters of a module that was rebuilt, in the optimizer's group of the old ones."""
        gone = {id(p) for p in old}
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if any(id(p) in gone for p in group["params"]):
                    group["params"][:] = [p for p in group["params"] if id(p) not in gone] + new
                    new = []
            for p in old:
                optimizer.state.pop(p, None)

    @property
    def wiring(self) -> Wiring:
        """What stands in for calls of functions while the model runs."""
        if self._wiring is None:
            self._wiring = Wiring()
            self._wiring.attach(self.model)
        return self._wiring

    @torch.no_grad()
    def set(self, parameter: Tensor, value: Tensor) -> None:
        """New values; the optimizer's memory of the old ones is dropped."""
        parameter.copy_(value.to(parameter))
        for optimizer in self.optimizers:
            optimizer.state.pop(parameter, None)

    def swap(self, found: Activation, make: Callable[[], nn.Module], name: str) -> None:
        """Another activation in the place of one, module or function."""
        module = make()
        if found.module:
            old = self.at(found.path)
            self.replace(found.path, module, old=type(old).__name__, expression=f"nn.{module!r}")
        elif found.site[0] is None:
            self.recipe.append(f"{found.path or 'the model'}: write {name} in place of {found.name}")
            return
        elif not self.wiring.swap(found.site, found.name, name):
            self.recipe.append(f"{found.line}: write F.{name} in place of {found.name}; it works in place")
            return
        else:
            self.write(Edit(what="function", path=found.path, old=found.name, new=f"F.{name}", line=found.line))
        if found.weight:
            self.activation[found.weight] = name
