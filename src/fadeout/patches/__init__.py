"""Patches: what a treatment did to a live network, written into the user's own source.

`patch_of` places every edit in the source, writes it with libcst, runs the new program and compares what it builds with
the treated network. What can't be placed, or does not build the same, becomes a recipe in sentences.
"""

from fadeout.patches.applying import apply_patch
from fadeout.patches.patch import Patch
from fadeout.patches.writing import patch_of

__all__ = ["Patch", "apply_patch", "patch_of"]
