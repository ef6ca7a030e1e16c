"""Found by Python at its start, because the launcher puts this folder first on the path: begins the watch.

It waits for `import torch`, and hands on to the sitecustomize that was there before. An error here is told and
stops nothing.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
if os.environ.get("FADEOUT_WATCH") or os.environ.get("FADEOUT_RACE"):
    try:
        from fadeout.live.arrival import await_torch

        await_torch()
    except Exception as _error:  # another Python without fadeout, say
        print(f"fadeout: this process is not watched ({type(_error).__name__}: {_error})", file=sys.stderr)
_spec = importlib.machinery.PathFinder.find_spec(
    "sitecustomize", [p for p in sys.path if os.path.abspath(p or ".") != _HERE]
)
if _spec is not None and _spec.loader is not None:
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["sitecustomize"] = _module
    _spec.loader.exec_module(_module)
