"""Small files of the user's: settings and baselines are read, answers are written."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from kdiag.errors import KdiagError, UsageError

LIMIT_BYTES = 4 << 20
"""More than anybody writes by hand."""


def read_text_file(path: Path, what: str) -> str:
    """The text of a file. Raises UsageError, in which `what` says what it was meant to be."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    if len(content) > LIMIT_BYTES:
        raise UsageError(f"the {what} {path} is too large: more than {LIMIT_BYTES >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the {what} {path} is not UTF-8: byte {error.start + 1}") from None


def check_writable(path: Path) -> None:
    """Raises UsageError if it is clear beforehand that nothing can be written there: a run may take minutes."""
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a directory", hint=f"name a file in it, as in {path}/kdiag.out")
    parent = path.parent
    if not parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no directory {parent}", hint=f"mkdir -p {parent}")
    target = path if path.exists() else parent
    if not os.access(target, os.W_OK):
        raise UsageError(
            f"cannot write {path}: Permission denied", hint="name another file, or ask for the right to it"
        )


def write_text_file(path: Path, text: str) -> None:
    """Writes all of it or, for a regular file, nothing: nobody ever reads half an answer.

    Devices and pipes are written to, not replaced. What UTF-8 cannot hold is escaped. Raises KdiagError.
    """
    content = text.encode("utf-8", "backslashreplace")
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:
                file.write(content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise _failed(path, error) from error


def append_text_file(path: Path, text: str) -> None:
    """Adds to the end of a file. Raises KdiagError."""
    try:
        with path.open("ab") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: OSError) -> KdiagError:
    return KdiagError(f"cannot write {path}: {error.strerror or error}", hint="name another file, or make room")


def _replace(path: Path, content: bytes) -> None:
    """By way of a file beside it, which gets the rights that the old one has, or that a new one would get."""
    import tempfile

    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    """It can only be read by being set."""
    current = os.umask(0o077)
    os.umask(current)
    return current
