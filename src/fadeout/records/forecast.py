"""Records of theory beside the measurement."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """A layer that is off the predicted band, and what it means."""

    path: str
    quantity: str
    measured: float
    predicted: float
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastLayer:
    """Theory beside one layer: decades of dL/dz relative to the last layer.  None: can't tell."""

    path: str
    q: float | None
    decades: float | None
    band: tuple[float, float] | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What mean-field theory expects of this network; None where it can't tell."""

    decades: float | None
    band: tuple[float, float] | None
    layers: tuple[ForecastLayer, ...] = ()
    surprises: tuple[Surprise, ...] = ()

    def __str__(self) -> str:
        if self.decades is None or self.band is None:
            why = next((row.why for row in self.layers if row.decades is None), "no weights")
            return f"forecast: theory can't tell ({why})"
        return f"forecast: {self.decades:+.2f} decades, band {self.band[0]:+.2f} .. {self.band[1]:+.2f}"
