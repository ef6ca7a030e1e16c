"""Applying a patch: the new texts in the place of the old ones, which are kept beside them."""

import os
from pathlib import Path

from fadeout.errors import FadeoutError
from fadeout.patches.patch import Patch
from fadeout.patches.source import read_text
from fadeout.store.replace import write_whole


def apply_patch(patch: Patch) -> tuple[str, ...]:
    """Write every file of a patch, each whole or not at all, and give back the paths of the backups.

    The old text goes to net.py.orig, or net.py.orig.1 and so on where that exists. If one file can't be written,
    those before it are put back.

    Raises:
        FadeoutError: If there is nothing to write, a file changed since the patch was made, or it can't be written.
    """
    if not patch.files:
        raise FadeoutError(f"patch: there is nothing to apply; {patch.why or 'it changes no file'}")
    for file, original in patch.originals.items():
        if read_text(file)[0] != original:
            raise FadeoutError(f"patch: {file} changed since the patch was made; make it again")
    backups: list[str] = []
    done: list[str] = []
    try:
        for file, text in patch.files.items():
            backups.append(_backup(Path(file)))
            write_whole(file, text.encode(patch.encodings.get(file, "utf-8")), verb="patch")
            done.append(file)
    except BaseException:
        for file in done:
            write_whole(file, patch.originals[file].encode(patch.encodings.get(file, "utf-8")), verb="patch")
        for backup in backups:
            Path(backup).unlink(missing_ok=True)
        raise
    return tuple(backups)


def _backup(file: Path) -> str:
    """A copy under a name that is free, made so that no other process can take the same one."""
    data, mode = file.read_bytes(), file.stat().st_mode & 0o777
    number = 0
    while True:
        name = f"{file}.orig" + (f".{number}" if number else "")
        try:
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise FadeoutError(f"patch: can't write {name}: {error.strerror}; check the folder") from error
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        return name
