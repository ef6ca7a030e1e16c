"""The engine `together`: arms that differ in weights alone are trained as one, in this process.

Their weights are stacked (`torch.func.stack_module_state`) and one `vmap` does what each would do alone: many small
operations become few large ones. Batched products add in another order, so the pieces agree with those of the other
engines but for rounding, which training enlarges. Arms that can't be stacked are trained one after the other.
"""

import copy
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import fresh, is_pair
from fadeout.engines.job import Job
from fadeout.engines.keeper import Keeper, one_thread
from fadeout.engines.limit import OutOfTime, within
from fadeout.engines.live import LiveArm, begin
from fadeout.records import Piece

# every element is updated by itself in these, so that one optimizer of stacked weights does what several do
ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad)
MOST = 16  # arms in one stack


class Together:
    """Like `here`, but for stacks of arms."""

    def __init__(self, make: Callable[[], Keeper]) -> None:
        self.keeper = make()
        self.case = self.keeper.case

    def run(self, jobs: Sequence[Job]) -> Iterator[Piece]:
        waiting = list(jobs)
        while waiting:
            held = [(job, self._arm(job)) for job in waiting[:MOST]]
            first = next((arm for _, arm in held if isinstance(arm, LiveArm)), None)
            stop = next((job.stop for job, arm in held if arm is first), 0)
            alike = [
                (job, arm)
                for job, arm in held
                if isinstance(arm, LiveArm) and first is not None and job.stop == stop and stackable(first, arm)
            ]
            pieces = self._together(alike) if len(alike) > 1 else []
            done = {(piece.arm, piece.seed) for piece in pieces}
            yield from pieces
            for job, arm in held:
                key = (job.arm, job.seed)
                if isinstance(arm, str):
                    done.add(key)
                    yield job.failed(arm)
                elif key not in done and any(arm is other for _, other in alike):
                    done.add(key)
                    if len(alike) == 1:
                        self.keeper.keep(job, arm)  # untouched: it goes on alone
                    yield self.keeper.do(job, limited=True)
                elif key not in done:
                    self.keeper.keep(job, arm)
            waiting = [job for job in waiting if (job.arm, job.seed) not in done]

    def _arm(self, job: Job) -> LiveArm | str:
        kept = self.keeper.taken(job.arm, job.seed)
        if kept is not None and kept.steps <= job.stop:
            return kept
        try:
            with within(job.limit), one_thread():
                return begin(self.case, job, self.keeper.shared)
        except OutOfTime:
            return f"took longer than {job.limit:.0f} s"

    def _together(self, group: list[tuple[Job, LiveArm]]) -> list[Piece]:
        """Pieces of a whole stack; none where it can't be run as one, and then its arms are spoilt."""
        begun = time.perf_counter()
        try:
            with within(sum(job.limit for job, _ in group)), one_thread():
                _train([arm for _, arm in group], group[0][0])
        except OutOfTime:
            return []
        except Exception:  # operations that vmap does not know, draws of random numbers: each arm runs alone
            return []
        seconds = (time.perf_counter() - begun) / len(group)
        for job, arm in group:
            if job.goes_on and not arm.failed:
                self.keeper.keep(job, arm)
        return [arm.piece(job, seconds) for job, arm in group]

    def forget(self, arms: Collection[str]) -> None:
        self.keeper.forget(arms)

    def close(self) -> None:
        self.keeper.live.clear()


def stackable(one: LiveArm, two: LiveArm) -> bool:
    """Whether two arms differ in weights alone."""
    if one is two:
        return _plain(one)
    return (
        one.steps == two.steps
        and _plain(one)
        and _plain(two)
        and _shape(one.model) == _shape(two.model)
        and _rates(one.runner.twin.optimizer) == _rates(two.runner.twin.optimizer)
        and len(one.batches) == len(two.batches)
        and all(_same(a, b) for a, b in zip(one.batches, two.batches, strict=True))
    )


def _plain(arm: LiveArm) -> bool:
    """Whether there is nothing about an arm that a stack would pass over."""
    optimizer = arm.runner.twin.optimizer
    if arm.loss is None or arm.runner.twin.own is not None or type(optimizer) not in ELEMENTWISE:
        return False
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    if any(getattr(optimizer, name, None) for name in hooks) or "step" in vars(optimizer):
        return False
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(m, name) for m in arm.model.modules() for name in names):
        return False
    held = [p for group in optimizer.param_groups for p in group["params"]]
    own = [p for p in arm.model.parameters() if p.requires_grad]
    if len({p.data_ptr() for p in own}) != len(own) or {id(p) for p in held} != {id(p) for p in own}:
        return False
    return all(is_pair(b) and isinstance(b[0], Tensor) and isinstance(b[1], Tensor) for b in arm.batches)


def _shape(model: nn.Module) -> list[Any]:
    modules = [
        (name, type(m), m.extra_repr(), m.training, len(list(m.children()))) for name, m in model.named_modules()
    ]
    weights = [(k, p.shape, p.dtype, p.device, p.requires_grad) for k, p in model.named_parameters()]
    return [*modules, *weights, *((k, b.shape, b.dtype) for k, b in model.named_buffers())]


def _rates(optimizer: Any) -> list[Any]:
    groups = [{k: v for k, v in g.items() if k != "params"} | {"n": len(g["params"])} for g in optimizer.param_groups]
    return [type(optimizer), [sorted(map(repr, group.items())) for group in groups]]


def _same(a: Any, b: Any) -> bool:
    return all(s is t or (s.shape == t.shape and torch.equal(s, t)) for s, t in zip(a, b, strict=True))


def _train(arms: list[LiveArm], job: Job) -> None:
    """All arms to the job's stop."""
    models = [arm.model for arm in arms]
    params, buffers = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")
    loss = arms[0].loss
    assert loss is not None

    def alone(weights: dict[str, Tensor], state: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(torch.func.functional_call(base, (weights, state), (x,)), y)

    whole = torch.vmap(alone, in_dims=(0, 0, None, None))
    stack = _Optimizer(arms, params)
    while arms[0].steps < job.stop:
        x, y = fresh(arms[0].batches[arms[0].steps % len(arms[0].batches)])
        stack.optimizer.zero_grad()
        losses = whole(params, buffers, x, y)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        stack.optimizer.step()
        alive = _alive(params, len(arms))
        for arm, value, moves in zip(arms, losses.detach().tolist(), alive, strict=True):
            if not arm.failed:
                arm.note(value, finite=math.isfinite(value), quiet=not (moves or arm.control))
        lead = max(arm.steps for arm in arms)
        if lead in job.points or lead >= job.stop:
            _write_back(arms, params, buffers)
            for arm in arms:
                with arm.own_random_state():
                    arm.judge()
        if all(arm.failed for arm in arms):
            break
        if arms[0].failed:  # the one that counts steps for all must run
            raise RuntimeError("the first of the stack failed")
    stack.write_back()


def _alive(params: dict[str, Tensor], count: int) -> list[bool]:
    """Whether any gradient of each arm is other than zero."""
    found = torch.zeros(count, dtype=torch.bool, device="cpu")
    for p in reversed(params.values()):
        if p.grad is not None:
            found |= p.grad.reshape(count, -1).any(1).cpu()
            if bool(found.all()):
                break
    return found.tolist()


@torch.no_grad()
def _write_back(arms: list[LiveArm], params: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    for n, arm in enumerate(arms):
        for name, p in arm.model.named_parameters():
            p.copy_(params[name][n])
        for name, b in arm.model.named_buffers():
            b.copy_(buffers[name][n])


class _Optimizer:
    """One optimizer for stacked weights, with the state of the arms' own."""

    def __init__(self, arms: list[LiveArm], params: dict[str, Tensor]) -> None:
        self.owns = [arm.runner.twin.optimizer for arm in arms]
        names = [{id(p): name for name, p in arm.model.named_parameters()} for arm in arms]
        order = [[names[n][id(p)] for g in o.param_groups for p in g["params"]] for n, o in enumerate(self.owns)]
        if any(one != two for one, two in pairwise(order)):
            raise RuntimeError("optimizers hold their weights in different orders")
        first = self.owns[0]
        groups = [
            {k: v for k, v in g.items() if k != "params"} | {"params": [params[names[0][id(p)]] for p in g["params"]]}
            for g in first.param_groups
        ]
        self.optimizer = type(first)(groups)
        self.pairs = [(params[name], self._weights(n_th)) for n_th, name in enumerate(order[0])]
        for stacked, own in self.pairs:
            states = [o.state[p] for o, p in zip(self.owns, own, strict=True) if p in o.state]
            if states and len(states) != len(own):
                raise RuntimeError("some arms have an optimizer state and some have none")
            if states:
                self.optimizer.state[stacked] = {key: _stacked([s[key] for s in states]) for key in states[0]}

    def _weights(self, n_th: int) -> list[Tensor]:
        return [[p for g in own.param_groups for p in g["params"]][n_th] for own in self.owns]

    def write_back(self) -> None:
        """The state to the arms' own optimizers, which go on with it."""
        for stacked, own in self.pairs:
            state = self.optimizer.state.get(stacked, {})
            for n, (optimizer, p) in enumerate(zip(self.owns, own, strict=True)):
                optimizer.state[p] = {k: _one_of(v, n) for k, v in state.items()}


def _stacked(values: list[Any]) -> Any:
    one = values[0]
    return torch.stack(values) if isinstance(one, Tensor) and one.dim() else copy.deepcopy(one)


def _one_of(value: Any, n: int) -> Any:
    return value[n].clone() if isinstance(value, Tensor) and value.dim() else copy.deepcopy(value)
