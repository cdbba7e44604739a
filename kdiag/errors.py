"""The one tree of errors that kdiag raises on purpose.

Every error carries a message (what is wrong) and a hint (what to do about it). The command line has the
only handler: it prints both and picks the exit code. Anything else that escapes is a bug in kdiag.
"""

from __future__ import annotations


class KdiagError(Exception):
    """An error that a user can act upon.

    `message` says what is wrong in one sentence without a full stop; `hint` says what to do next and may
    be empty.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(KdiagError):
    """A flag or an argument that makes no sense."""


class SnapshotError(KdiagError):
    """A snapshot that cannot be opened at all (a part that cannot be read is a gap, not an error)."""


class ParseError(KdiagError):
    """Text that is not in the grammar it was said to be in. `line` is 1-based, 0 when it has none."""

    def __init__(self, message: str, *, hint: str = "", line: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.line = line


class TargetError(KdiagError):
    """A Service, node, pod or address that the snapshot does not hold."""


class ClusterError(KdiagError):
    """An API server that cannot be found, reached or logged in to."""
