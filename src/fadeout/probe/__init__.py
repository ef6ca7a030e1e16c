"""probe: everything that touches autograd.  Gives `measure`."""

from fadeout.probe.measurement import measure

__all__ = ["measure"]
