"""Errors a user can act on: each says what, where and what to do."""


class FadeoutError(Exception):
    """A case that can't be measured.  The command line ends with exit code 2."""


class ModelError(FadeoutError):
    """The user's own code raised, in forward, in the loss or in backward.  Exit code 3.

    The original exception stands in `__cause__`.
    """
