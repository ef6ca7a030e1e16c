"""One thread, and the same random cases on every CI run.

Small tensors gain nothing from more threads, and spinning threads starve whoever shares the cores.
On a developer's machine hypothesis explores; in CI it repeats itself, so that a red run is a change's doing.
"""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
