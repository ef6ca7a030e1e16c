"""Listed: the parameters of a track, each in a place that it keeps."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.live.members import held
from fadeout.live.norms import is_sharded
from fadeout.live.roots import names_of


class Listed:
    """Of one network.

    Attributes:
        parameters: Those that its optimizers hold or held.
        names: Of them, in the network.
        fresh: They have changed since the file was told.
        sharded: This process holds only a part of one of them.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.parameters: list[Tensor] = []
        self.names: list[str] = []
        self.fresh = True
        self.sharded = any(is_sharded(p) for p in root.parameters())
        self._places: dict[int, list[int]] = {}

    def update(self, optimizers: Sequence[Optimizer], *, anew: bool = False) -> None:
        """The parameters as the optimizers hold them now; those known before keep their place unless `anew`."""
        current = [p for one in optimizers for p in held(one)]
        if anew or {id(p) for p in current}.isdisjoint(id(p) for p in self.parameters):
            self.parameters = []
        place = {id(p): i for i, p in enumerate(self.parameters)}
        for p in current:
            if id(p) not in place:
                place[id(p)] = len(self.parameters)
                self.parameters.append(p)
        self._places = {id(one): [place[id(p)] for p in held(one)] for one in optimizers}
        self.names = names_of(self.root, self.parameters)
        self.fresh = True
        self.sharded = self.sharded or any(is_sharded(p) for p in self.parameters)

    def places(self, optimizer: Optimizer) -> list[int]:
        """Of an optimizer's parameters."""
        return self._places[id(optimizer)]

    @property
    def matrices(self) -> list[bool]:
        """Whether each has two dimensions or more."""
        return [p.dim() >= 2 for p in self.parameters]
