"""Records of layers: one row for each module with weights, and what their profile says."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Underflow:
    """Share of non-zero gradient values flushed in each format, 0 to 1."""

    fp16: float
    bf16: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFinite:
    """Counts of values that are inf or nan."""

    activation: int = 0
    gradient: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One module with weights, data side first.  `nan`: not measured or not defined.

    Attributes:
        path: Dotted module path.
        kind: Class of the module, "Linear".
        gradient_norm: Norm of dL/dz, z the output of the layer; all its uses together.
        gradient_rms: Root mean square of the same.
        weight_gradient_norm: Norm of dL/dW.
        activation_rms: Root mean square of z.
        weight_rms: Root mean square of W.
        mean_slope: Mean |slope| of the activation that reads z, over its supremum; 0 to 1.
        dead: Share of units whose slope is exactly 0 on every row seen, 0 to 1.
        saturated: Share of elements whose slope is below 8 % of the supremum, 0 to 1; of
            bounded activations only (sigmoid, tanh and their like).
        activation: Name of that activation, "" where there is none.
        gated: The activation's output is multiplied by something: a gate.
        between_samples: Share of z's energy that differs between samples, 0 to 1.
        update_ratio: rms of the next update over rms of W; needs an optimizer.
        units: Units that `dead` counts; 0 where it is not measured.
        below_eps: Share of dL/dW whose size is below 10 eps of the optimizer, 0 to 1; nan without
            an eps.
        trained: The layer has a weight that requires a gradient.
        reached: A gradient arrived, were it zero; false for layers outside the account.
    """

    path: str
    kind: str
    gradient_norm: float
    gradient_rms: float
    weight_gradient_norm: float
    activation_rms: float
    weight_rms: float
    mean_slope: float
    dead: float
    saturated: float
    activation: str
    gated: bool
    between_samples: float
    update_ratio: float
    underflow: Underflow
    not_finite: NotFinite
    trained: bool
    reached: bool
    units: int = 0
    below_eps: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The first operation whose result is not finite though its inputs are.

    Attributes:
        rows: Of the batch, at which it is not, by number from 0; the first few.
        of: Rows that the batch has; 0 where the result has no rows.
        masked: A later `where` or mask leaves the values out again, so that only the way back is broken by them.
    """

    path: str
    op: str
    line: str
    where: Literal["parameters", "input", "forward", "loss", "backward"]
    rows: tuple[int, ...] = ()
    of: int = 0
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The straight line through log10 |dL/dz| over the weight layers of the trunk.

    Attributes:
        slope: Decades gained per layer towards the data (Theil-Sen); negative fades.
        residual: Median absolute distance from the line, decades.
    """

    slope: float
    residual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveDepth:
    """How many weight layers are really trained.

    Attributes:
        layers: Layers that both see the input and move; None where unknown.
        seen: Paths of the layers whose output still tells samples apart.
        moved: Paths of the layers whose update ratio is within two decades of the largest.
    """

    layers: int | None
    seen: tuple[str, ...]
    moved: tuple[str, ...]
