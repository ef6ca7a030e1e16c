"""probe: everything that touches autograd.  Gives `measure`."""

from fadeout.probe.measure import measure

__all__ = ["measure"]
