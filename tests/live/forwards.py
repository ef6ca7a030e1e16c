"""Forwards that do more than to compute: each draws, counts, consumes or writes something that is no buffer."""

import functools
import io
import itertools
import logging
import random
from collections import OrderedDict, deque

import numpy as np
import torch
from torch import nn

GLOBAL_NUMPY = np.random.default_rng(0)
GLOBAL_TORCH = torch.Generator().manual_seed(0)
GLOBAL_RANDOM = random.Random(0)
COUNT = 0
SEEN: list[int] = []
LOG = logging.getLogger("forwards")
STREAM = iter(range(10**6))
CACHE: list[float] = []
COUNTS = {"n": 0}
KEPT = OrderedDict(means=[])


class Base(nn.Module):
    """Two layers, and something between them."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 12), nn.Linear(12, 4)
        self.setup()

    def setup(self):
        pass

    def forward(self, x, *args, **kwargs):
        return self.last(torch.tanh(self.between(self.first(x), *args, **kwargs)))

    def between(self, h):
        return h

    def call(self, x):
        return self(x)


class NumpyGlobal(Base):
    def between(self, h):
        return h + 0.1 * float(GLOBAL_NUMPY.normal())


class TorchGlobal(Base):
    def between(self, h):
        return h + 0.1 * torch.randn(h.shape, generator=GLOBAL_TORCH)


class RandomGlobal(Base):
    def between(self, h):
        return h * (1 + 0.1 * GLOBAL_RANDOM.random())


class BoundDraw(Base):
    """A method of a generator that was taken off it."""

    def setup(self):
        self.draw = np.random.RandomState(0).normal

    def between(self, h):
        return h + 0.1 * float(self.draw())


class Noise:
    """A helper of the script's own, two objects deep."""

    def __init__(self):
        self.inner = {"rng": [np.random.default_rng(1)]}
        self.calls = 0

    def __call__(self, h):
        self.calls += 1
        return h + 0.1 * float(self.inner["rng"][0].normal()) + 0.001 * self.calls


class Helper(Base):
    def setup(self):
        self.noise = Noise()

    def between(self, h):
        return self.noise(h)


class Slotted:
    __slots__ = ("_SlottedOne", "__hidden", "count")

    def __init__(self):
        self.count, self.__hidden = 0, 0

    def step(self):
        self.count += 1
        self.__hidden += 2
        return 0.001 * (self.count + self.__hidden)


class Slots(Base):
    def setup(self):
        self.slotted = Slotted()

    def between(self, h):
        return h + self.slotted.step()


class OwnAttribute(Base):
    def setup(self):
        self.step, self.kept = 0, deque(maxlen=3)

    def between(self, h):
        self.step += 1
        self.kept.append(float(h.detach().mean()))
        self.newly = getattr(self, "newly", 0) + 1
        return h + 0.001 * self.step + sum(self.kept) + 0.001 * self.newly


class GlobalCounter(Base):
    def between(self, h):
        global COUNT
        COUNT += 1
        SEEN.append(COUNT)
        return h + 0.001 * len(SEEN)


class ClassCounter(Base):
    calls = 0

    def between(self, h):
        type(self).calls += 1
        ClassCounter.calls += 1
        return h + 0.001 * self.calls


class Static(Base):
    made = 0

    @staticmethod
    def count():
        Static.made += 1
        return Static.made

    @property
    def shift(self):
        return 0.001 * self.count()

    def between(self, h):
        return h + self.shift


def counted(function):
    @functools.wraps(function)
    def run(*args):
        run.calls += 1
        return function(*args) + 0.001 * run.calls

    run.calls = 0
    return run


@counted
def shifted(h):
    return h * 1.01


class FunctionAttribute(Base):
    def between(self, h):
        return shifted(h)


def closure():
    n = 0

    def count():
        nonlocal n
        n += 1
        return n

    return count


class Closure(Base):
    def setup(self):
        self.count = functools.partial(closure())

    def between(self, h):
        return h + 0.001 * self.count()


class Counting(torch.autograd.Function):
    forwards = backwards = 0

    @staticmethod
    def forward(ctx, h):
        Counting.forwards += 1
        return h + 0.001 * Counting.forwards

    @staticmethod
    def backward(ctx, gradient):
        Counting.backwards += 1
        return gradient * (1 + 0.001 * Counting.backwards)


class OwnFunction(Base):
    def between(self, h):
        return Counting.apply(h)


class PassedCache(Base):
    """A cache and a counter that are handed in."""

    def call(self, x):
        return self(x, CACHE, counts=COUNTS)

    def between(self, h, cache, *, counts):
        cache.append(float(h.detach().mean()))
        counts["n"] += 1
        return h + 0.01 * sum(cache) / len(cache) + 0.001 * counts["n"]


class Cache:
    """As libraries of transformers hand one to every layer."""

    def __init__(self):
        self.layers = [{"seen": 0}]

    def update(self, kept, h):
        self.layers[0]["seen"] += 1
        kept["means"].append(float(h.detach().mean()))
        return 0.001 * self.layers[0]["seen"] + 0.01 * kept["means"][-1] * len(kept["means"])


ONE_CACHE = Cache()


class PassedObject(Base):
    def call(self, x):
        return self(x, ONE_CACHE, kept=KEPT)

    def between(self, h, cache, *, kept):
        return h + cache.update(kept, h)


class PassedTensor(Base):
    """A tensor is handed in and written into."""

    def setup(self):
        self.__dict__["outside"] = torch.zeros(12)

    def call(self, x):
        return self(x, self.outside)

    def between(self, h, cache):
        cache.add_(0.1 * h.detach().mean(0))
        return h + cache


class ArrayAndTensor(Base):
    """Held by an object that is no module."""

    def setup(self):
        self.memory = Memory()

    def between(self, h):
        return h + self.memory.add(h)


class Memory:
    def __init__(self):
        self.array, self.tensor = np.zeros(12, np.float32), torch.zeros(12)

    def add(self, h):
        self.array += h.detach().mean(0).numpy()
        self.tensor.data.mul_(0.9).add_(h.detach().mean(0))
        return 0.01 * torch.from_numpy(self.array.copy()) + 0.01 * self.tensor.clone()


class Large(Base):
    """Writes into a tensor that is too large to be copied."""

    def setup(self):
        self.memory = [torch.zeros(600_000)]

    def between(self, h):
        self.memory[0][:12] += h.detach().mean(0)
        return h + 0.01 * self.memory[0][:12]


class OwnIterator:
    """An iterator in Python: its place is an attribute."""

    def __init__(self):
        self.i = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.i += 1
        return self.i


class PythonIterator(Base):
    def setup(self):
        self.it = OwnIterator()

    def between(self, h):
        return h + 0.001 * next(self.it)


class Iterator(Base):
    """One that ends with the training: another item taken would end the script."""

    def setup(self):
        self.it = iter([0.001 * i for i in range(60)])

    def between(self, h):
        return h + next(self.it)


class Generator(Base):
    def setup(self):
        self.items = (0.001 * i for i in range(60))

    def between(self, h):
        return h + next(self.items)


class GlobalStream(Base):
    def between(self, h):
        return h + 1e-5 * next(STREAM)


class Counter(Base):
    def setup(self):
        self.count = itertools.count()

    def between(self, h):
        return h + 0.001 * next(self.count)


class Says(Base):
    """Prints and logs."""

    def between(self, h):
        print("a forward")
        LOG.warning("a forward")
        return h


class Raw(io.RawIOBase):
    """A file, in memory."""

    def __init__(self):
        self.length = 0

    def write(self, text):
        self.length += len(text)
        return len(text)


class File(Base):
    """Holds a file open."""

    def setup(self):
        self.file = Raw()

    def between(self, h):
        self.file.write(b"x")
        return h + 0.001 * self.file.length


class Opens(Base):
    def between(self, h):
        with open("opened.txt", "a") as file:
            file.write("x")
        return h


class Saves(Base):
    """By a package's function."""

    def between(self, h):
        global COUNT
        COUNT += 1
        torch.save(h.detach(), f"saved{COUNT}.pt")
        return h


class Evaluated(Base):
    """Names what it uses only when it runs."""

    def between(self, h):
        return h + 0.001 * eval("GLOBAL_RANDOM.random()")


class Clock(Base):
    def setup(self):
        import time

        self.clock = time.perf_counter_ns

    def between(self, h):
        self.ticks = self.clock()
        return h


# Those that can be put back are probed; of the others it is said why they are not.
PROBED = (
    NumpyGlobal, TorchGlobal, RandomGlobal, BoundDraw, Helper, Slots, OwnAttribute, GlobalCounter, ClassCounter,
    Static, FunctionAttribute, Closure, OwnFunction, PassedCache, PassedObject, ArrayAndTensor, PythonIterator, Says,
    Clock,
)  # fmt: skip
REFUSED = {
    Iterator: "it (list_iterator)",
    Generator: "items (generator)",
    GlobalStream: "STREAM (range_iterator)",
    Counter: "count (itertools.count)",
    File: "file (live.forwards.Raw)",
    Opens: "open() in Opens.between",
    Saves: "saves a file",
    Large: "writes into a tensor",
    PassedTensor: "an input of the network is written into",
    Evaluated: "eval() in Evaluated.between",
}
