"""One thread: small tensors gain nothing from more, and spinning threads starve whoever shares the cores."""

import torch

torch.set_num_threads(1)
