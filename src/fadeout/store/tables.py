"""Tables: tidy rows as a Parquet file, one measured number a row."""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from fadeout.errors import FadeoutError
from fadeout.store.replace import write_whole


def write_parquet(rows: Sequence[dict[str, Any]], path: str | os.PathLike[str], *, verb: str) -> Path:
    """Write rows with the same keys.

    Raises:
        FadeoutError: If pyarrow is missing, or the folder can't be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise FadeoutError(f"{verb}: Parquet needs pyarrow; pip install 'fadeout[lab]'") from error
    stream = BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), stream)
    return write_whole(path, stream.getvalue(), verb=verb)
