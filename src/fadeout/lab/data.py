"""Data: digits out of scikit-learn, and MNIST, Fashion-MNIST and CIFAR-10 from their usual files, by checksum.

The files lie where torchvision's loaders put them (MNIST/raw/..., FashionMNIST/raw/..., cifar-10-batches-py/...) under
the folder named by FADEOUT_DATA, else ~/.cache/fadeout/data; what is missing is downloaded. torchvision itself is
not needed: it would bring another torch along.
"""

import functools
import gzip
import hashlib
import os
import pickle
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fadeout.errors import FadeoutError

NAMES = ("digits", "mnist", "fashion", "cifar10")
HELD_OUT = 360  # of the 1,797 digits
_WAIT = 30  # seconds for a server to answer

# checksums as torchvision has them (torchvision/datasets/mnist.py, cifar.py)
_MNIST = (
    ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
_FASHION = (
    ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
)
_CIFAR = (("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),)
_WHERE = {
    "mnist": ("MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "fashion": ("FashionMNIST/raw", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
    "cifar10": ("", "https://www.cs.toronto.edu/~kriz/"),
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Data:
    """Images of ten classes, standardised by one mean and one deviation of the training rows.

    Attributes:
        x, x_test: (N, features), float32.
        y, y_test: (N,), int64.
        shape: (channels, height, width) of one row.
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    shape: tuple[int, int, int]

    @property
    def features(self) -> int:
        return int(self.x.shape[1])

    @property
    def images(self) -> Tensor:
        """Training rows as (N, C, H, W)."""
        return self.x.view(-1, *self.shape)


@functools.cache
def load(name: str = "digits") -> Data:
    """A data set by name.

    Raises:
        FadeoutError: If there is none of this name, a package is missing, a file can't be had or has another checksum.
    """
    if name == "digits":
        return _digits()
    if name not in NAMES:
        raise FadeoutError(f"lab: there is no data set {name!r}; it is one of {', '.join(NAMES)}")
    return _cifar() if name == "cifar10" else _idx(name, _MNIST if name == "mnist" else _FASHION)


def folder() -> Path:
    """Where the files lie."""
    return Path(os.environ.get("FADEOUT_DATA") or Path.home() / ".cache" / "fadeout" / "data").expanduser()


def _digits() -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise FadeoutError("lab: digits needs scikit-learn; pip install 'fadeout[lab]'") from error
    bundle = load_digits()
    order = torch.randperm(len(bundle.target), generator=torch.Generator().manual_seed(123))
    x, y = torch.tensor(bundle.data, dtype=torch.float32)[order], torch.tensor(bundle.target)[order].long()
    return _made("digits", x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT], (1, 8, 8))


def _made(name: str, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, shape: tuple[int, int, int]) -> Data:
    mean, deviation = x.mean(), x.std()
    return Data(
        name=name, x=(x - mean) / deviation, y=y, x_test=(x_test - mean) / deviation, y_test=y_test, shape=shape
    )


def _idx(name: str, files: tuple[tuple[str, str], ...]) -> Data:
    where, source = _WHERE[name]
    parts = [_read_idx(_file(where, file, checksum, source)) for file, checksum in files]
    x, y, x_test, y_test = parts
    return _made(
        name, x.flatten(1).float() / 255, y.long(), x_test.flatten(1).float() / 255, y_test.long(), (1, 28, 28)
    )


def _read_idx(path: Path) -> Tensor:
    """The idx format: two zero bytes, type, number of dimensions, each dimension as 4 bytes, then the values."""
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).copy()).view(shape)


def _cifar() -> Data:
    ((file, checksum),) = _CIFAR
    where, source = _WHERE["cifar10"]
    parts: dict[str, tuple[Tensor, Tensor]] = {}
    with tarfile.open(_file(where, file, checksum, source)) as archive:
        for member in archive.getmembers():
            name = member.name.rpartition("/")[2]
            stream = archive.extractfile(member) if name.startswith(("data_batch", "test_batch")) else None
            if stream is not None:  # a pickle of the authors', known by the archive's checksum
                held = pickle.load(stream, encoding="bytes")
                parts[name] = (torch.tensor(held[b"data"]).float() / 255, torch.tensor(held[b"labels"]))
    training = [parts[name] for name in sorted(parts) if name.startswith("data_batch")]
    x, y = torch.cat([x for x, _ in training]), torch.cat([y for _, y in training])
    return _made("cifar10", x, y, *parts["test_batch"], (3, 32, 32))


def _file(where: str, file: str, checksum: str, source: str) -> Path:
    """The file, downloaded where it is missing.

    Raises:
        FadeoutError: If it can't be had, or is another file than it should be.
    """
    path = folder() / where / file
    if not path.exists():
        _download(source + file, path)
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found != checksum:
        raise FadeoutError(
            f"lab: {path} has the checksum {found}, not {checksum}: it is damaged or another file; "
            "delete it, and it is downloaded again"
        )
    return path


def _download(source: str, path: Path) -> None:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(source, timeout=_WAIT) as answer:
            part.write_bytes(answer.read())
        part.replace(path)
    except OSError as error:  # no network, no room, no right to write
        part.unlink(missing_ok=True)
        raise FadeoutError(
            f"lab: can't download {source} to {path} ({error}); put the file there yourself, or use --data digits"
        ) from error
