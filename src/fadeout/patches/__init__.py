"""Patches: what a treatment did to a live network, written into the user's own source.

`patch_of` places every edit in the source, writes it with libcst, runs the new program and compares what it builds with
the treated network. What can't be placed, or does not build the same, becomes a recipe in sentences.
Needs the extra `patch`; importing the package without it says so.
"""

from importlib.util import find_spec

from fadeout.errors import FadeoutError

if find_spec("libcst") is None:
    raise FadeoutError("patch: libcst is not installed; pip install 'fadeout[patch]'")

from fadeout.patches.applying import apply_patch
from fadeout.patches.patch import Patch
from fadeout.patches.writing import patch_of

__all__ = ["Patch", "apply_patch", "patch_of"]
