"""Lines: where in the user's source an instruction stands."""

from typing import Any


def line_of(code: Any, instruction: int) -> str:
    """'model.py:41' from a code object and the instruction it stood at."""
    if code is None:
        return ""
    for start, stop, number in code.co_lines():
        if start <= instruction < stop and number is not None:
            return f"{code.co_filename.rsplit('/', 1)[-1]}:{number}"
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"
