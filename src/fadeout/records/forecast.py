"""Records of theory beside the measurement."""

from dataclasses import dataclass
from typing import Any


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

    def __repr__(self) -> str:
        from fadeout.render.sentences import forecast_line

        return forecast_line(self)

    def __str__(self) -> str:
        from fadeout.render.forecast_text import ForecastText

        return str(ForecastText(forecast=self))

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from fadeout.render.forecast_text import ForecastText

        return ForecastText(forecast=self).__rich_console__(console, options)

    def _repr_html_(self) -> str:
        from fadeout.render.notebook import forecast_fragment

        return forecast_fragment(self)
