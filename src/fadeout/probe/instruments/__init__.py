"""Instruments: a measured quantity a file, and the table of all."""

from fadeout.probe.instruments.along_time import AlongTime
from fadeout.probe.instruments.attention import Attention
from fadeout.probe.instruments.batch_norms import BatchNorms
from fadeout.probe.instruments.dormancy import Dormancy
from fadeout.probe.instruments.instrument import Held, How, Instrument, Observed
from fadeout.probe.instruments.layers import Layers
from fadeout.probe.instruments.loss_terms import LossTerms
from fadeout.probe.instruments.mixing import Mixing
from fadeout.probe.instruments.origin import Origins
from fadeout.probe.instruments.reach import Reach
from fadeout.probe.instruments.rows import Rows
from fadeout.probe.instruments.signal import Signals
from fadeout.probe.instruments.sketch import Sketcher
from fadeout.probe.instruments.units import Units
from fadeout.probe.instruments.unregistered import Unregistered
from fadeout.probe.instruments.way import Way
from fadeout.probe.instruments.weights import Parameters

INSTRUMENTS: tuple[type[Instrument], ...] = (  # they measure in this order: a later one may ask an earlier
    Units,
    Parameters,
    Origins,
    AlongTime,
    Reach,
    Attention,
    Sketcher,
    Mixing,
    Dormancy,
    Layers,
    Way,
    Signals,
    Rows,
    LossTerms,
    BatchNorms,
    Unregistered,
)

__all__ = ["INSTRUMENTS", "Held", "How", "Instrument", "Observed"]
