"""Batches of noise, by what a model reads."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CLASSES = 5
WORDS = 1000  # vocabulary: tables of 250,000 rows say nothing about the way through the layers


def ids(rows: int = 4, length: int = 16) -> Tensor:
    return torch.randint(10, WORDS, (rows, length))


def _rows(size: str) -> int:
    return 4 if size == "small" else 2


def _side(config: Any, size: str) -> int:
    side = getattr(config, "image_size", None) or (64 if size == "small" else 224)
    return side if isinstance(side, int) else side[0]


BATCHES: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "text": lambda c, s: {"input_ids": ids(), "labels": torch.arange(4) % CLASSES},
    "language": lambda c, s: (lambda x: {"input_ids": x, "labels": x})(ids()),
    "translation": lambda c, s: {"input_ids": ids(), "labels": ids()},
    "image": lambda c, s: {
        "pixel_values": torch.randn(_rows(s), getattr(c, "num_channels", 3), _side(c, s), _side(c, s)),
        "labels": torch.arange(_rows(s)) % CLASSES,
    },
    "pixels": lambda c, s: {"pixel_values": torch.randn(_rows(s), 3, _side(c, s), _side(c, s))},
    "video": lambda c, s: {
        "pixel_values": torch.randn(2, c.num_frames, 3, _side(c, s), _side(c, s)),
        "labels": torch.arange(2),
    },
    "mask": lambda c, s: {
        "pixel_values": torch.randn(2, 3, _side(c, s), _side(c, s)),
        "labels": torch.randint(0, CLASSES, (2, _side(c, s), _side(c, s))),
    },
    "sound": lambda c, s: {"input_values": torch.randn(4, 8000), "labels": torch.arange(4) % CLASSES},
    "speech": lambda c, s: {"input_values": torch.randn(4, 16000), "labels": torch.randint(1, 30, (4, 6))},
    "spectrum": lambda c, s: {
        "input_values": torch.randn(4, c.max_length, c.num_mel_bins),
        "labels": torch.arange(4) % CLASSES,
    },
    "dictation": lambda c, s: {
        "input_features": torch.randn(2, c.num_mel_bins, 2 * c.max_source_positions)
        if hasattr(c, "num_mel_bins")
        else torch.randn(2, 64, c.input_feat_per_channel),
        "labels": ids(2, 8),
    },
    "pairs": lambda c, s: {
        "input_ids": ids(),
        "pixel_values": torch.randn(4, 3, _side(c.vision_config, s), _side(c.vision_config, s)),
        "return_loss": True,
    },
    "series": lambda c, s: {
        "past_values": torch.randn(4, c.context_length, c.num_input_channels),
        "future_values": torch.randn(4, c.prediction_length, c.num_input_channels),
    },
}
