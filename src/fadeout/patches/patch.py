"""A patch: new text for the user's own files, and sentences for what could not be written into them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What to change in the source so that it builds the treated network.

    Attributes:
        files: The new text of every file that changes, by its absolute path; empty where there is no patch.
        originals: The text that each of them had when the patch was written.
        encodings: How each of them is encoded.
        diff: All changes as one unified diff, for `git apply` or `patch -p1`.
        root: The folder that the names in the diff start from.
        recipe: What a person has to change by hand, a sentence each, with file and line where they are known.
        checked: The patched program was run and builds the treated network.
        why: What the check found; why there is no patch, or why it is not checked.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    originals: Mapping[str, str] = field(default_factory=dict)
    encodings: Mapping[str, str] = field(default_factory=dict)
    diff: str = ""
    root: str = ""
    recipe: tuple[str, ...] = ()
    checked: bool = False
    why: str = ""
