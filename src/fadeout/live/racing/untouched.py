"""The user's files, left as they are while a script races: what it would write over goes into the run's own folder.

`torch.save` always goes there. `open` for writing goes there where the file exists already, and whoever reads it again
in this process gets the new one. New files are left where the script puts them, and are listed. Writers that do not go
through Python's `open` are not seen.
"""

import builtins
import functools
import io
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MOST = 40  # paths that are listed
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


class Untouched:
    """Stands between the script and its files.

    Attributes:
        written: Files that were opened for writing, as the script names them.
        saved: Files that went to the run's folder instead.
        read_weights: Files of weights that were read.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.written: list[str] = []
        self.saved: list[str] = []
        self.read_weights: list[str] = []
        self._instead: dict[str, str] = {}
        self._own = False

    def begin(self) -> None:
        """From now on."""
        sys.addaudithook(self._audit)
        opened, save, load = builtins.open, torch.save, torch.load

        @functools.wraps(opened)
        def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            return opened(self._place(file, mode), mode, *args, **kwargs)

        builtins.open = io.open = open_
        torch.save = self._saving(save)

        @functools.wraps(load)
        def load_(f: Any, *args: Any, **kwargs: Any) -> Any:
            return load(self._place(f, "r"), *args, **kwargs)

        torch.load = load_

    def _saving(self, save: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(save)
        def save_(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(f, (str, os.PathLike)):
                f = self._aside(os.path.abspath(os.fspath(f)))
            self._own = True
            try:
                return save(obj, f, *args, **kwargs)
            finally:
                self._own = False

        return save_

    def _place(self, file: Any, mode: str) -> Any:
        if not isinstance(file, (str, os.PathLike)) or not isinstance(mode, str):
            return file
        try:
            path = os.path.abspath(os.fspath(file))
        except TypeError:  # bytes
            return file
        if not isinstance(path, str):
            return file
        if path in self._instead:
            return self._instead[path]
        if set(mode) & set("wa+") and os.path.isfile(path) and not self._free(path):
            kept = self._aside(path)
            if "w" not in mode:
                shutil.copyfile(path, kept)
            return kept
        return file

    def _aside(self, path: str) -> str:
        """A place in the run's folder for what the script calls by this path."""
        if path not in self._instead:
            if len(self.saved) < MOST:
                self.saved.append(path)
            name = f"{len(self._instead)}-{Path(path).name}"
            (self.folder / "files").mkdir(exist_ok=True)
            self._instead[path] = str(self.folder / "files" / name)
        return self._instead[path]

    def _free(self, path: str) -> bool:
        """Whether a file is nobody's work: devices, caches, our own."""
        return path.startswith(("/dev/", "/proc/", "/sys/", str(self.folder), *_FREE)) or "__pycache__" in path

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(args[0], str):
            return
        path, mode, flags = args
        if isinstance(mode, str) and "r" in mode and "+" not in mode:
            if path.endswith(WEIGHTS) and path not in self.read_weights:
                self.read_weights.append(path)
            return
        writes = isinstance(mode, str) and bool(set(mode) & set("wax+"))
        if mode is None and isinstance(flags, int):
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        if writes and len(self.written) < MOST and not self._own:
            full = os.path.abspath(path)
            if not self._free(full) and full not in self.written and full not in self._instead.values():
                self.written.append(full)


_FREE = tuple(
    {
        os.path.realpath(tempfile.gettempdir()) + "/torchinductor",
        os.path.realpath(tempfile.gettempdir()) + "/tmp",
        os.path.realpath(tempfile.gettempdir()) + "/pymp-",
        *(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib")),
    }
)
