"""What is read of a snapshot: within limits, and of what is large only where it lies.

A node's rules may have a hundred megabytes, and judging a node takes a multiple: so large files are read when it is their turn,
and what cannot be read a second time is held compressed. What is not compressed needs nothing that unpacks.
"""

from __future__ import annotations

import io
import os
import stat
from contextlib import closing
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from kdiag.errors import SnapshotError
from kdiag.gather.large_texts import LargeTexts
from kdiag.gather.snapshot_layout import PathParts
from kdiag.model.snapshot import Stored

ARCHIVE_HINT = "a snapshot is a directory, a .tar, a .tar.gz or a .tar.zst with cluster/ and nodes/ inside"

_CHUNK_BYTES = 1 << 20
_MOST_PROBLEMS = 200
_LARGE_BYTES = 1 << 16
"""From this size on a file is not held as it is."""

_LEFT_UNPACKED_BYTES = 256 << 20
"""So much large text that cannot be read again is held as it is: to pack it and unpack it takes time."""

_CHANGED_HINT = "the snapshot was changed while kdiag read it: run kdiag again when that is done"
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):  # not every system has all of them
    _OPEN_FLAGS |= getattr(os, _flag, 0)


class Limits(Struct, frozen=True, kw_only=True):
    """How much of a snapshot is read at most. Sizes are in bytes and count text after decompression.

    The defaults leave room for the largest clusters (a node's rules may have 150 MB, a list of 150,000 pods 600 MB) and
    still fit a workstation. The writer keeps to them, too, so that what it wrote can be read.
    """

    max_files: int = 200_000
    max_file_bytes: int = 1 << 30
    max_total_bytes: int = 2 << 30


class Problem(Struct, frozen=True, kw_only=True):
    """A part of the snapshot that was not read. `path` is empty if it concerns the whole."""

    path: PathParts
    reason: str


class Contents(Struct, kw_only=True):
    """What was found: files by path (decompressed), directories that were seen, and what could not be read.

    Paths keep the ending `.gz` of a compressed file.
    """

    files: dict[PathParts, bytes | Stored] = field(default_factory=dict)
    directories: set[PathParts] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class LimitError(Exception):
    """The limits allow no further reading of this file, or of anything if `final`."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Readable(Protocol):
    """Something that bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


class Collector:
    """Gathers contents within the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.contents = Contents()
        self._entries = 0
        self._bytes = 0
        self._left_unpacked = _LEFT_UNPACKED_BYTES
        self._large_texts = LargeTexts()
        self._problems_left_out = 0

    def entry(self) -> None:
        """Counts one file, directory, link or other entry."""
        self._entries += 1
        if self._entries > self.limits.max_files:
            raise LimitError(f"it holds more than {self.limits.max_files} files: the rest was not read", final=True)

    def problem(self, path: PathParts, reason: str) -> None:
        """Notes a part that was not read; from a certain number on only their count is kept."""
        if len(self.contents.problems) >= _MOST_PROBLEMS:
            self._problems_left_out += 1
        else:
            self.contents.problems.append(Problem(path=path, reason=reason))

    def file(self, path: PathParts, stream: Readable) -> None:
        """Reads one file, inflating it if its name ends in .gz; a damaged or too large one is a problem.

        Errors of `stream` itself are the caller's.
        """
        if path in self.contents.files:
            self.problem(path, "it is there twice: only the first was read")
            return
        content = self._content(path, stream)
        if content is not None:
            self._bytes += len(content)
            self.contents.files[path] = self._held(content)

    def standing_file(self, path: PathParts, place: Path) -> None:
        """As `file`, of one that will still be there later: if it is large, it is read when somebody asks for it.

        Whether the limits allow that is seen now; compressed text has to be inflated for it. Raises OSError.
        """
        with closing(open_regular(place)) as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_size >= _LARGE_BYTES and not path[-1].endswith(".gz"):
                found: bytes | Stored | None = self._allowed(
                    path, _Standing(place, facts, facts.st_size, self._large_texts)
                )
            else:
                found = self._content(path, stream)
        if isinstance(found, bytes) and len(found) >= _LARGE_BYTES:
            found = _Standing(place, facts, len(found), self._large_texts)
        if found is not None:
            self._bytes += len(found) if isinstance(found, bytes) else found.size_bytes
            self.contents.files[path] = found

    def _allowed(self, path: PathParts, stored: Stored) -> Stored | None:
        """What is stored, unless it is too large, which is a problem."""
        try:
            self._check(stored.size_bytes)
        except LimitError as error:
            if error.final:
                raise
            self.problem(path, error.reason)
            return None
        return stored

    def _content(self, path: PathParts, stream: Readable) -> bytes | None:
        """What is in a file; None, and a problem, if that cannot be had."""
        try:
            content = self._read(stream)
            return self._inflated(path, content) if path[-1].endswith(".gz") else content
        except LimitError as error:
            if error.final:
                raise
            self.problem(path, error.reason)
        return None

    def _held(self, content: bytes) -> bytes | Stored:
        if len(content) < _LARGE_BYTES:
            return content
        self._left_unpacked -= len(content)
        if self._left_unpacked >= 0:
            return content
        from kdiag.gather.packed import Packed

        return Packed(content)

    def _read(self, stream: Readable) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            self._check(size)
            chunks.append(chunk)
        return b"".join(chunks)

    def _check(self, size_bytes: int) -> None:
        """Raises LimitError if a file may not have so many bytes, with the limit that reading it would meet first."""
        left, most = self.limits.max_total_bytes - self._bytes, self.limits.max_file_bytes
        if size_bytes > left and left < most:
            raise LimitError(total_reason(self.limits), final=True)
        if size_bytes > most:
            raise LimitError(f"it is larger than {size_words(most)}: not read", final=False)

    def _inflated(self, path: PathParts, content: bytes) -> bytes | None:
        from kdiag.gather.packed import inflate

        try:
            return inflate(io.BytesIO(content), self._read)
        except OSError as error:
            self.problem(path, f"its compressed text is damaged or cut short ({words(error)}): not read")
        return None

    def finish(self) -> Contents:
        """The contents, with a last problem that counts those left out."""
        if self._problems_left_out:
            reason = f"{self._problems_left_out} more parts could not be read"
            self.contents.problems.append(Problem(path=(), reason=reason))
        return self.contents


class _Standing:
    """A file that was looked at, and is as it was then when it is read, or else an error. `size_bytes` counts text."""

    def __init__(self, place: Path, facts: os.stat_result, size_bytes: int, large_texts: LargeTexts) -> None:
        self.size_bytes = size_bytes
        self.has_parts = not place.name.endswith(".gz")
        self._place = place
        self._large_texts = large_texts
        self._stamp = (facts.st_size, facts.st_mtime_ns)

    def read(self) -> bytes:
        """See Stored."""
        return self._read(0, self.size_bytes)

    def part(self, start: int, end: int) -> bytes:
        """See Stored."""
        return self._read(start, end) if self.has_parts else self.read()[start:end]

    def _read(self, start: int, end: int) -> bytes:
        content = None
        try:
            with closing(open_regular(self._place)) as stream:
                facts = os.fstat(stream.fileno())
                if self._stamp == (facts.st_size, facts.st_mtime_ns):
                    if self.has_parts:
                        stream.seek(start)
                        # Parts are small, and several may be held.
                        whole = end - start == self.size_bytes
                        content = self._large_texts.read(stream, end) if whole else stream.read(end - start)
                    else:
                        from kdiag.gather.packed import inflate

                        content = inflate(stream, lambda inflated: inflated.read(end + 1))
        except OSError as error:
            raise SnapshotError(f"cannot read {self._place} any more: {words(error)}", hint=_CHANGED_HINT) from error
        if content is None or len(content) != end - start:
            raise SnapshotError(f"{self._place} is not what it was before", hint=_CHANGED_HINT)
        return content


def refusal(path: PathParts, depth: int, *, is_file: bool, is_directory: bool) -> str:
    """Why an entry of this type at this place is not read; empty if it is."""
    if len(path) > depth:
        return "it lies deeper than anything in a snapshot: not read"
    if is_directory:
        return "" if len(path) < depth else "a directory where a file should be: not read"
    if not is_file:
        return "neither a file nor a directory (links and devices are never followed): not read"
    if len(path) < depth:
        return "a file where a directory should be: not read"
    return ""


def open_regular(path: Path) -> BufferedIOBase:
    """Opens a regular file and nothing else, also if it was swapped for a link or a FIFO meanwhile. Raises OSError."""
    descriptor = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return os.fdopen(descriptor, "rb")


def total_reason(limits: Limits) -> str:
    """Why nothing more is read of a snapshot that is too large."""
    return f"it holds more than {size_words(limits.max_total_bytes)}: the rest was not read"


def size_words(size_bytes: int) -> str:
    """A size for a message."""
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes} bytes"


def words(error: BaseException) -> str:
    """An error in one line, without the path that the caller names already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
