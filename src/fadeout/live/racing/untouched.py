"""The user's files, left as they are while a script races: what it would write over goes into the run's own folder.

`torch.save` always goes there. `open` for writing goes there where the file exists already, and whoever reads it again
in this process gets the new one. New files are left where the script puts them, and are listed. Writers that do not go
through Python's `open` are not seen, but for torch's and safetensors'.
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
from types import ModuleType
from typing import Any

import torch

from fadeout.live.imported import when_imported
from fadeout.live.racing.moves import Moves

MOST = 40  # paths that are listed
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


class Untouched:
    """Stands between the script and its files.

    Attributes:
        written: Files that were opened for writing, as the script names them.
        saved: Files that went to the run's folder instead.
        instead: Where they are, by the paths that the script calls them by.
        read_weights: Files of weights that were read.
    """

    def __init__(self, folder: str, begun: float) -> None:
        self.folder = Path(folder)
        self._moves = Moves(self, begun)
        self.written: list[str] = []
        self.saved: list[str] = []
        self.read_weights: list[str] = []
        self.instead: dict[str, str] = {}
        self._own = False
        self._open = builtins.open

    def begin(self) -> None:
        """From now on."""
        sys.addaudithook(self._audit)
        opened, save, load = self._open, torch.save, torch.load

        @functools.wraps(opened)
        def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            return opened(self._place(file, mode), mode, *args, **kwargs)

        builtins.open = io.open = open_
        torch.save = self._saving(save)

        @functools.wraps(load)
        def load_(f: Any, *args: Any, **kwargs: Any) -> Any:
            return load(self._place(f, "r"), *args, **kwargs)

        torch.load = load_
        when_imported({"safetensors.torch": self._safetensors})
        self._moves.begin()

    def _safetensors(self, module: ModuleType) -> None:
        """Its writer is compiled, so that `open` is never called."""
        save, load = module.save_file, module.load_file

        @functools.wraps(save)
        def save_file(tensors: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
            return save(tensors, self.aside(os.path.abspath(os.fspath(filename))), *args, **kwargs)

        @functools.wraps(load)
        def load_file(filename: Any, *args: Any, **kwargs: Any) -> Any:
            return load(self._place(filename, "r"), *args, **kwargs)

        vars(module).update(save_file=save_file, load_file=load_file)

    def _saving(self, save: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(save)
        def save_(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(f, (str, os.PathLike)):
                f = self.aside(os.path.abspath(os.fspath(f)))
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
        if path in self.instead:
            return self.instead[path]
        if set(mode) & set("wa+") and os.path.isfile(path) and not self.free(path):
            kept = self.aside(path)
            if "w" not in mode:
                with self._open(path, "rb") as source, self._open(kept, "wb") as copy:
                    shutil.copyfileobj(source, copy)
            return kept
        return file

    def aside(self, path: str) -> str:
        """A place in the run's folder for what the script calls by this path."""
        if path not in self.instead:
            if len(self.saved) < MOST:
                self.saved.append(path)
            name = f"{len(self.instead)}-{Path(path).name}"
            (self.folder / "files").mkdir(exist_ok=True)
            self.instead[path] = str(self.folder / "files" / name)
        return self.instead[path]

    def free(self, path: str) -> bool:
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
            if not self.free(full) and full not in self.written and full not in self.instead.values():
                self.written.append(full)


_FREE = tuple(
    {
        os.path.realpath(tempfile.gettempdir()) + "/torchinductor",
        os.path.realpath(tempfile.gettempdir()) + "/tmp",
        os.path.realpath(tempfile.gettempdir()) + "/pymp-",
        *(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib")),
    }
)
