"""The subject: what is examined - the user's model without wrappers, and where inside it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.batch import Step, closure
from fadeout.call.copies import copy_of
from fadeout.call.guard import Guard
from fadeout.errors import FadeoutError, ModelError


@dataclass(slots=True)
class Subject:
    """What is examined: the user's model without wrappers, and where inside it."""

    model: nn.Module
    watched: nn.Module
    prefix: str
    notes: list[str]
    modules: list[tuple[str, nn.Module]]
    parameters: list[tuple[str, nn.Parameter]]

    @classmethod
    def of(cls, model: nn.Module, watched: nn.Module, prefix: str, notes: list[str]) -> "Subject":
        """List modules and trained parameters once; the lists of large models are slow to make."""
        return cls._listed(model, watched, prefix, notes, list(model.named_modules()))

    @classmethod
    def _listed(
        cls, model: nn.Module, watched: nn.Module, prefix: str, notes: list[str], modules: list[tuple[str, nn.Module]]
    ) -> "Subject":
        return cls(
            model=model,
            watched=watched,
            prefix=prefix,
            notes=notes,
            modules=modules,
            parameters=_trained(modules, prefix),
        )


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of a module itself, not of its children."""
    if isinstance(module, torch.jit.ScriptModule):
        return list(module.parameters(recurse=False))
    return [p for p in privates.parameters(module).values() if p is not None]


def _trained(modules: list[tuple[str, nn.Module]], prefix: str) -> list[tuple[str, nn.Parameter]]:
    """Parameters that require a gradient, each once, under its first name below a prefix."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in modules:
        if prefix and path != prefix and not path.startswith(f"{prefix}."):
            continue
        own = module.named_parameters(recurse=False) if isinstance(module, torch.jit.ScriptModule) else ()
        for name, p in own or privates.parameters(module).items():
            if p is not None and p.requires_grad and id(p) not in found:
                found[id(p)] = (f"{path}.{name}" if path else name, p)
    return list(found.values())


def subject(
    model: Any,
    batch: Any,
    *,
    loss: Callable[..., Tensor] | None,
    step: Step | None,
    within: str | None,
    verb: str,
) -> Subject:
    """Unwrap a model and find the part to examine.

    The batch and its loss serve lazy modules only, whose shapes a first forward decides.

    Raises:
        TypeError: If it is no module.
        FadeoutError: If nothing in it can be trained, or `within` names no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{verb}: the model must be a torch.nn.Module, got {type(model).__name__}; "
            "pass the network itself, not a class or its output"
        )
    model, notes = unwrapped(model)
    modules = list(model.named_modules())
    parameters = [p for _, module in modules for p in own_parameters(module)]
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in parameters):
        model = copy.deepcopy(model)
        _initialise(model, batch, loss=loss, step=step, verb=verb)
        notes.append("lazy modules: examined a copy, so that the original stays uninitialised")
        modules = list(model.named_modules())
        parameters = list(model.parameters())
    name = type(model).__name__
    if not parameters:
        raise FadeoutError(f"{verb}: {name} has no parameters; there is nothing a gradient could train")
    if any(p.device.type == "meta" for p in parameters):
        raise FadeoutError(
            f"{verb}: {name} is on the meta device, which holds no values; "
            "materialise it first, e.g. model.to_empty(device='cpu') and initialise"
        )
    if not any(p.requires_grad for p in parameters):
        raise FadeoutError(
            f"{verb}: no parameter of {name} requires a gradient; "
            "everything is frozen - check requires_grad_(False) or set it on the part you train"
        )
    if any(p.is_inference() for p in parameters):
        raise FadeoutError(
            f"{verb}: {name} was created under torch.inference_mode, so autograd can't record it; create it outside"
        )
    watched = model
    if within is not None:
        try:
            watched = model.get_submodule(within)
        except AttributeError:
            near = [n for n, _ in modules if n][:8]
            raise FadeoutError(
                f"{verb}: {name} has no module {within!r}; its modules begin with {', '.join(near) or 'none'}"
            ) from None
        notes.append(f"within {within!r}: the account stops at what enters it")
    about = Subject._listed(model, watched, within or "", notes, modules)
    if not about.parameters:
        raise FadeoutError(f"{verb}: nothing under {within!r} requires a gradient; everything there is frozen")
    return about


def unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The module inside compiled, DDP and DataParallel wrappers, and what was taken off."""
    notes: list[str] = []
    while True:
        inner = getattr(model, privates.COMPILED, None)
        if isinstance(inner, nn.Module):
            notes.append("torch.compile: examined the original module, eagerly")
        elif type(model).__name__ in ("DistributedDataParallel", "DataParallel") and isinstance(
            getattr(model, "module", None), nn.Module
        ):
            inner = model.module
            notes.append(f"{type(model).__name__}: examined the module inside")
        else:
            return model, notes
        assert isinstance(inner, nn.Module)
        model = inner


def _initialise(
    model: nn.Module, batch: Any, *, loss: Callable[..., Tensor] | None, step: Step | None, verb: str
) -> None:
    """Run lazy modules once, so that they get their shapes; the random state is put back."""
    with Guard([]), torch.enable_grad():
        try:
            closure(model, batch, loss=loss, step=step, verb=verb).run(model)
        except FadeoutError:
            raise
        except Exception as error:
            raise ModelError(f"{verb}: the model failed in its forward: {type(error).__name__}: {error}") from error


def double_copy(subject: Subject) -> Subject | None:
    """The same network in float64, or None where it can't be copied."""
    try:
        model = copy_of(subject.model).double()
        watched = model.get_submodule(subject.prefix) if subject.prefix else model
    except Exception:  # user code: __deepcopy__ and .double() can raise anything; the caller says so
        return None
    return Subject.of(model, watched, subject.prefix, subject.notes)
