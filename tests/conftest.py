"""One thread, and the same random cases on every CI run.

Small tensors gain nothing from more threads, and spinning threads starve whoever shares the cores.
On a developer's machine hypothesis explores; in CI it repeats itself, so that a red run is a change's doing.
"""

import os
import signal

import torch
from hypothesis import settings

torch.set_num_threads(1)
if os.environ.get("FADEOUT_DEVICE"):  # the training loops of tests/live on a GPU: `make test-gpu`
    torch.set_default_device(os.environ["FADEOUT_DEVICE"])
settings.register_profile("own", deadline=None)  # how long a case takes is the machine's doing
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "own")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: the tests of Ctrl-C need it
    signal.signal(signal.SIGINT, signal.default_int_handler)
