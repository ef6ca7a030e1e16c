"""store: exams as files.  Gives `save` and `load`.  No torch."""

from fadeout.store.files import load, save

__all__ = ["load", "save"]
