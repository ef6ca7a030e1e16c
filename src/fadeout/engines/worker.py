"""A worker process: reads work from its input, writes answers to its output.

Started with a fresh interpreter and not by `multiprocessing`, whose children import the user's script again and so
need a `__main__` guard in it.  What user code prints goes to the error stream.
"""

import os
import pickle
import struct
from typing import Any, BinaryIO

from fadeout.engines.parcel import unpacked

READY = b"ready"
_LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, parcel: bytes) -> None:
    """One parcel with its length before it."""
    stream.write(_LENGTH.pack(len(parcel)) + parcel)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """The next parcel; None at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(head)[0]
    body = stream.read(size)
    return body if len(body) == size else None


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """Our own ends of the pipes; the usual ones lead elsewhere from now on."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    return source, sink


def main() -> None:
    """Serve until the input ends."""
    import torch

    source, sink = _streams()
    torch.set_num_threads(1)
    first = receive(source)
    if first is None:
        return
    doer: Any = None
    why = ""
    try:
        make, dtype = unpacked(first)
        torch.set_default_dtype(dtype)
        doer = make()
    except Exception as error:  # whatever the user's objects need when they are opened
        why = f"the case can't be opened in another process ({type(error).__name__}: {str(error)[:120]})"
    send(sink, READY)
    while (parcel := receive(source)) is not None:
        what, value = unpacked(parcel)
        if what == "job":
            send(sink, pickle.dumps(_done(doer, value) if doer is not None else value.failed(why)))
        elif doer is not None:
            doer.forget(value)


def _done(doer: Any, job: Any) -> Any:
    try:
        return doer.do(job, limited=False)
    except BaseException as error:
        return job.failed(f"{type(error).__name__}: {str(error)[:200]}")
