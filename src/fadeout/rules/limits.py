"""Limits: every threshold of every rule, with its unit and where it comes from.  No torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Scale-free bounds; give your own to `diagnose(reading, limits=Limits(vanishing=-4))`.

    Attributes:
        vanishing: `decades` at or below which the gradient vanishes, decades.  Source: tuned on
            one half of 280 training programs and flat from -1.3 to -5 there; healthy networks
            reach -2.3.
        surely: Below this an alarm stands by itself; between the two, with an optimizer given,
            only where it leaves layers unmoved or blind (Adam carried depth-10 ReLU nets at -3.8
            to 70-88 %, and failed from -4 on).
        exploding: `decades` at or above which it explodes, decades.  Same source: healthy
            networks reach +1.5.
        reached: Decades below the loss end from which a layer counts as out of reach.  Same
            source ("earliest layer with g < 1e-3 of the end").
    """

    vanishing: float = -3.0
    surely: float = -4.0
    exploding: float = 3.0
    reached: float = -3.0


LIMITS = Limits()
