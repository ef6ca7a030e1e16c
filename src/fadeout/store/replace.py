"""Replace: a file is written whole or not at all; links, permissions, devices and pipes stay what they are."""

import os
import stat
import tempfile
from pathlib import Path

from fadeout.errors import FadeoutError


def write_whole(path: str | os.PathLike[str], text: str | bytes, *, verb: str) -> Path:
    """Write a text file, or bytes as they are; an existing one is replaced only once the new one is whole.

    A link is followed, the file's permissions are kept, and what is no regular file (a pipe, /dev/stdout)
    is written to, never replaced.

    Raises:
        FadeoutError: If the folder does not exist or can't be written, or the disk is full.
    """
    target = Path(path)
    try:
        real = Path(os.path.realpath(target))
        if real.exists() and not real.is_file():
            if real.is_dir():
                raise IsADirectoryError(21, "is a folder")
            with open(real, "wb") as stream:
                stream.write(_bytes(text))
            return target
        _replace(real, _bytes(text))
    except OSError as error:
        raise FadeoutError(f"{verb}: can't write {target}: {error.strerror}; check the folder") from error
    return target


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.replace("\n", os.linesep).encode()


def _replace(real: Path, text: bytes) -> None:
    mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else 0o666 & ~_umask()
    handle, part = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(part, mode)
        os.replace(part, real)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
