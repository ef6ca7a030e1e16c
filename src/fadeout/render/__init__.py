"""Rendering: views turn records into plain series and tables; terminal, charts and html draw views."""

import importlib
import random

_drawn = random.getstate()  # rich draws from Python's generator while it is imported, and that is the user's
for _name in ("console", "table", "text"):
    importlib.import_module(f"rich.{_name}")
random.setstate(_drawn)
