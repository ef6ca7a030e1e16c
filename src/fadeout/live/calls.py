"""Calls: how a root was called in one step and what gradient came back, so that the step can be run again on the side.

The calls are seen only while a probe is due. Copied are random state, buffers, and what else of the script's own the
forward can get at (`reach`): inputs are kept as they are, and a call whose inputs were written into afterwards is not
replayed, nor one that reaches what can't be put back.
"""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.batch import tensors
from fadeout.call.chance import random_state, set_random_state
from fadeout.errors import FadeoutError
from fadeout.live.hooking import Hooking
from fadeout.live.norms import norms
from fadeout.live.places import Held
from fadeout.live.reach import Reach
from fadeout.live.roots import WRAPPERS, compiled_around
from fadeout.live.still import ENDED, ImpureError

DEEPEST = 2  # levels below the root whose modules are watched for calls of their own
MOST = 64  # modules that are watched
ROUNDING = 1e-3  # of a gradient, below which what is left of it is rounding


@dataclass(slots=True, eq=False)
class Call:
    """One outermost call of the root, or of a part of it where the root itself is not called.

    Attributes:
        weights: Norms of the parameters.
        reach: What its forward can get at beside parameters, buffers and random state.
        held: How that was before the forward; None where it is not put back.
        output_versions: How often each output had been written into when it was returned.
        gradients: Of the outputs, by place, once they have arrived.
        backward: Number of the backward pass that brought the last one.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    random: Any
    buffers: list[tuple[Tensor, Tensor]]
    autocast: list[tuple[str, bool, torch.dtype]]
    versions: list[tuple[Tensor, int]]
    weights: Tensor
    reach: Reach
    held: Held | None
    output: Any = None
    output_versions: list[int] = field(default_factory=list)
    gradients: dict[int, Tensor] = field(default_factory=dict)
    backward: int = -1
    handles: list[Any] = field(default_factory=list)

    def release(self) -> None:
        """Let go: a tensor's hook that holds the tensor is a circle that no collector sees."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.output, self.args, self.kwargs, self.gradients = [], None, (), {}, {}
        self.held, self.buffers = None, []


class Calls:
    """Watches a root while a probe is due.

    Attributes:
        kept: The calls that were seen.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.kept: list[Call] = []
        self.backwards = 0
        self._hooking = Hooking(self._before, self._after)
        self._reach: Reach | None = None  # of the last call
        self._depth = 0
        self._armed_at = -1  # backward passes then
        self._stays = False
        self._uncompiled = False  # its calls do not come through what torch.compile has made of it

    def arm(self) -> None:
        """Begin to watch."""
        self._depth = 0
        self._armed_at = self.backwards
        self._hooking.put_on(lambda: _watched(self.root, through=not self._uncompiled))

    def disarm(self) -> None:
        """Watch no more; what was kept stays until `forget`."""
        if not self._stays:
            self._hooking.take_off()
            self._armed_at = -1
        self._depth = 0

    @property
    def unseen(self) -> bool:
        """Whether a backward pass came and no call that we could see: those inside of compiled code we can't."""
        trains = self.root.training and privates.compiled()
        return trains and not self.kept and 0 <= self._armed_at < self.backwards

    def look_inside(self) -> bool:
        """Watch the network itself, and no more what was compiled of it; False where that is done already."""
        inside, self._uncompiled = self._uncompiled, True
        return not inside and bool(compiled_around(self.root))

    def stay(self) -> None:
        """Stay on to the end: the compiled code holds our hooks, and would be compiled anew without them."""
        self._stays = True

    def end(self) -> None:
        """Watch no more at all."""
        self._stays = False
        self.disarm()
        self.forget()

    def forget(self) -> None:
        """Let go of inputs and outputs."""
        for call in self.kept:
            call.release()
        self.kept = []

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            return
        self._depth += 1
        if self._depth > 1 or not torch.is_grad_enabled() or not module.training:
            return
        if privates.in_backward():  # a checkpoint that is run again
            return
        for over in [call for call in self.kept if call.gradients]:  # their backward is over: other micro-batches
            self.kept.remove(over)
            over.release()
        given = list(tensors((args, kwargs)))
        self._reach = reach = Reach(eager(module).modules(), (args, kwargs), self._reach)
        self.kept.append(
            Call(
                module=module,
                args=args,
                kwargs=kwargs,
                random=random_state(),
                buffers=[(b, b.detach().clone()) for b in module.buffers()],
                autocast=_autocast(),
                versions=[(t, t._version) for t in given if not t.is_inference()],
                weights=sizes_of(module),
                reach=reach,
                held=None if reach.unfit else Held(reach.places),
            )
        )

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._depth = max(0, self._depth - 1)
        if self._depth or not self.kept or self.kept[-1].module is not module or self.kept[-1].output is not None:
            return
        call = self.kept[-1]
        call.output = output
        for place, tensor in enumerate(tensors(output)):
            call.output_versions.append(-1 if tensor.is_inference() else tensor._version)
            if tensor.requires_grad:
                handle = tensor.register_hook(functools.partial(self._arrived, call, place))  # type: ignore[no-untyped-call]
                call.handles.append(handle)

    def _arrived(self, call: Call, place: int, gradient: Tensor) -> None:
        call.gradients[place] = gradient.detach()
        call.backward = self.backwards

    @property
    def in_parts(self) -> bool:
        """Whether it was not the root itself that was called."""
        return any(eager(call.module) is not eager(self.root) for call in self.kept)

    def last(self) -> list[Call]:
        """The calls that the last backward pass before the step went through.

        Those of earlier passes belong to other micro-batches, or to another network's loss.

        Raises:
            FadeoutError: If there are none, or an input was written into since.
            ImpureError: If one can't be run again without a trace.
        """
        reached = [call for call in self.kept if call.gradients]
        if not reached:
            raise FadeoutError(
                "run: the network is not called as a whole (model(x)), so only the norms of its gradients are known"
            )
        newest = max(call.backward for call in reached)
        found = [call for call in reached if call.backward == newest]
        unfit = next((call.reach.unfit for call in found if call.reach.unfit), "")
        if unfit:
            raise ImpureError(f"run: the network's forward uses {unfit}, which can't be put back, {ENDED}")
        if any(t._version != version for call in found for t, version in call.versions):
            raise FadeoutError("run: an input of the network is written into after its forward; the probe was left out")
        if any(call.held is not None and call.held.lost for call in found):
            raise ImpureError(f"run: the network's forward writes into a tensor that is no buffer, {ENDED}")
        return found


def _watched(root: nn.Module, *, through: bool) -> Iterator[nn.Module]:
    """The root, and where a script may call parts of it one by one, those: never the inside of what is compiled.

    Args:
        through: Only what was compiled of the root, if there is any.
    """
    around = compiled_around(root) if through and privates.compiled() else []
    if around:
        yield from around
        return
    level, seen = [root], 0
    for depth in range(DEEPEST + 1):
        below: list[nn.Module] = []
        for module in level:
            yield module
            seen += 1
            if seen >= MOST:
                return
            if type(module).__name__ not in WRAPPERS and privates.compiled_call(module) is None:
                below += [m for m in module._modules.values() if m is not None and _has_parameters(m)]
        if depth == 0 and type(root).__name__ in WRAPPERS:
            return
        level = below


def sizes_of(module: nn.Module) -> Tensor:
    """Norms of a module's parameters, left on their device."""
    return norms([p.detach() for p in module.parameters()])


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _autocast() -> list[tuple[str, bool, torch.dtype]]:
    kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    return [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds]


class Replay:
    """The scalar whose gradient is the step's own: the inner product of the outputs with the gradients that came back.

    Where one output was made of another (a loss beside its logits, a code that was handed to the decoder), a part of
    what came back to the inner one had come through the outer one; only the rest is sent into it again.

    Args:
        scale: By which the gradients are divided: a loss scale.
    """

    def __init__(self, calls: list[Call], scale: float = 1.0) -> None:
        self.calls, self.scale = calls, scale
        self._own: list[Tensor | None] | None = None  # of every output, what did not come through another one

    def __call__(self, root: nn.Module) -> Tensor:
        made: dict[int, Tensor] = {}  # what one call returned may be what the next one was given
        outs: list[Tensor] = []
        gradients: list[Tensor] = []
        for call in self.calls:
            inner = eager(call.module)
            if call.held is not None:
                call.held.put_back()
            set_random_state(call.random)
            with torch.no_grad():
                for buffer, value in call.buffers:
                    buffer.copy_(value)
            args, kwargs = _with(call.args, made), _with(call.kwargs, made)
            with _under(call.autocast):
                output = inner(*args, **kwargs)
            self._ran(call, output)
            news = list(tensors(output))
            for old, new in zip(tensors(call.output), news, strict=False):
                made[id(old)] = new
            for place, gradient in call.gradients.items():
                outs.append(news[place])
                gradients.append(gradient.to(news[place].dtype))
        if self._own is None:
            self._own = own_gradients(outs, gradients)
        parts = [(out * own).sum() for out, own in zip(outs, self._own, strict=True) if own is not None]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total / self.scale if self.scale != 1.0 else total

    def _ran(self, call: Call, output: Any) -> None:
        """A call was run again."""


def own_gradients(outs: list[Tensor], gradients: list[Tensor]) -> list[Tensor | None]:
    """Of what arrived at each output, the part that did not come through another output; None where there is none."""
    if len(outs) == 1:
        return [gradients[0]]
    above = [[j for j, other in enumerate(outs) if j != i and _made_of(other, out)] for i, out in enumerate(outs)]
    own: list[Tensor | None] = [None] * len(outs)
    for i in sorted(range(len(outs)), key=lambda i: len(above[i])):  # those that nothing was made of come first
        pairs = [(outs[j], known) for j in above[i] if (known := own[j]) is not None]
        left = gradients[i]
        if pairs:
            others, seeds = [o for o, _ in pairs], [g for _, g in pairs]
            (through,) = torch.autograd.grad(others, outs[i], seeds, retain_graph=True, allow_unused=True)
            left = left if through is None else left - through
        own[i] = left if bool(left.norm() > ROUNDING * gradients[i].norm()) or not above[i] else None
    return own


def _made_of(outer: Tensor, inner: Tensor) -> bool:
    """Whether a tensor was computed from another one."""
    if outer is inner or outer.grad_fn is None or inner.grad_fn is None:
        return False
    waiting, seen = [outer.grad_fn], {outer.grad_fn}
    while waiting:
        for below, _ in waiting.pop().next_functions:
            if below is not None and below not in seen:
                if below is inner.grad_fn:
                    return True
                seen.add(below)
                waiting.append(below)
    return False


def _with(value: Any, made: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if id(value) in made:
            return made[id(value)]
        if value.grad_fn is not None:  # made by what lies before: another network, code between two parts
            return value.detach().requires_grad_(value.requires_grad)
        return value
    if type(value) in (tuple, list):
        return type(value)(_with(item, made) for item in value)
    if type(value) is dict:
        return {key: _with(item, made) for key, item in value.items()}
    return value


def eager(module: nn.Module) -> nn.Module:
    """The module inside wrappers."""
    while type(module).__name__ in WRAPPERS:
        module = next(m for m in module._modules.values() if m is not None)
    return module


@contextmanager
def _under(autocast: list[tuple[str, bool, torch.dtype]]) -> Iterator[None]:
    with ExitStack() as stack:
        for kind, enabled, dtype in autocast:
            if enabled:
                stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=True))
        yield
