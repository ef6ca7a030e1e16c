"""Places: where values lie that a forward of somebody's own may change, each kept and put back."""

from collections.abc import Iterable
from types import CellType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.guard import refill, set_state_of, state_of

SMALL = 1 << 18  # elements of a tensor or an array whose values are copied
_ABSENT = object()


class Place(Protocol):
    """One of them."""

    def read(self) -> Any:
        """What is there now, so that `write` can put it back."""

    def write(self, value: Any) -> None:
        """What `read` gave."""


class Contents:
    """The items of a list, a dict, a set, a deque or a bytearray."""

    __slots__ = ("container",)

    def __init__(self, container: Any) -> None:
        self.container = container

    def read(self) -> Any:
        return self.container.copy()

    def write(self, value: Any) -> None:
        if isinstance(self.container, bytearray):
            self.container[:] = value
        else:
            refill(self.container, value)


class Attributes:
    """Of a module; but for what it is called by once it is compiled, which is ours to put on and take off."""

    __slots__ = ("space",)

    def __init__(self, module: nn.Module) -> None:
        self.space = vars(module)

    def read(self) -> Any:
        return {name: value for name, value in self.space.items() if name != privates.COMPILED_CALL}

    def write(self, value: Any) -> None:
        kept = {name: self.space[name] for name in (privates.COMPILED_CALL,) if name in self.space}
        refill(self.space, {**value, **kept})


class Name:
    """One name in a namespace: of a module's globals, or of an object's attributes."""

    __slots__ = ("name", "space")

    def __init__(self, space: dict[str, Any], name: str) -> None:
        self.space, self.name = space, name

    def read(self) -> Any:
        return self.space.get(self.name, _ABSENT)

    def write(self, value: Any) -> None:
        if value is _ABSENT:
            self.space.pop(self.name, None)
        elif self.space.get(self.name, _ABSENT) is not value:
            self.space[self.name] = value


class Attribute:
    """One attribute that has no namespace that can be written: of a class, or a slot of an object."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    def read(self) -> Any:
        if isinstance(self.owner, type):
            return vars(self.owner).get(self.name, _ABSENT)
        return getattr(self.owner, self.name, _ABSENT)

    def write(self, value: Any) -> None:
        now = self.read()
        if now is value:
            return
        change = type if isinstance(self.owner, type) else object
        if value is _ABSENT:
            change.__delattr__(self.owner, self.name)
        else:
            change.__setattr__(self.owner, self.name, value)


class Cell:
    """A variable that functions share."""

    __slots__ = ("cell",)

    def __init__(self, cell: CellType) -> None:
        self.cell = cell

    def read(self) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:
            return _ABSENT

    def write(self, value: Any) -> None:
        if value is _ABSENT:
            if self.read() is not _ABSENT:
                del self.cell.cell_contents
        elif self.read() is not value:
            self.cell.cell_contents = value


class Drawn:
    """A random generator."""

    __slots__ = ("generator",)

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def read(self) -> Any:
        return state_of(self.generator)

    def write(self, value: Any) -> None:
        set_state_of(self.generator, value)


class Array:
    """The values of a numpy array that is small."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def read(self) -> Any:
        return self.array.copy()

    def write(self, value: Any) -> None:
        if self.array.flags.writeable:
            self.array[...] = value


class Values:
    """A tensor: its values where it is small; of a large one only whether it was written into."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def read(self) -> tuple[int, Tensor | None]:
        t = self.tensor
        plain = t.layout == torch.strided and not t.is_nested and t.device.type != "meta" and type(t.data) is Tensor
        copied = t.detach().clone() if plain and t.numel() <= SMALL else None
        return (0 if t.is_inference() else privates.version(t)), copied

    def write(self, value: tuple[int, Tensor | None]) -> None:
        if value[1] is not None and value[1].shape == self.tensor.shape:
            self.tensor.data.copy_(value[1])

    def written(self, value: tuple[int, Tensor | None]) -> bool:
        """Whether it was written into since, and can't be put back."""
        return value[1] is None and not self.tensor.is_inference() and privates.version(self.tensor) != value[0]


class Held:
    """What lay in some places at one time."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.values = [(place, place.read()) for place in places]

    def put_back(self) -> None:
        """As it was then."""
        with torch.no_grad():
            for place, value in self.values:
                place.write(value)

    @property
    def lost(self) -> bool:
        """Whether a tensor that is too large to copy was written into since."""
        return any(isinstance(place, Values) and place.written(value) for place, value in self.values)
