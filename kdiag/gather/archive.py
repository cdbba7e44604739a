"""Files of a snapshot, read from a directory or a tar archive that may come from a stranger.

Nothing is ever unpacked to disk. Links and special files are not followed, names that leave the snapshot are refused,
and compressed text is inflated piece by piece, so that a limit stops it before memory does.
"""

from __future__ import annotations

import gzip
import importlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Protocol, cast

from msgspec import Struct, field

from kdiag.errors import SnapshotError
from kdiag.gather.snapshot_layout import PathParts, depth_of

_CHUNK_BYTES = 1 << 20
_EXTENDED_HEADER_BYTES = 1 << 20
_MOST_PROBLEMS = 200
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ARCHIVE_HINT = "a snapshot is a directory, a .tar, a .tar.gz or a .tar.zst with cluster/ and nodes/ inside"
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):  # not every system has all of them
    _OPEN_FLAGS |= getattr(os, _flag, 0)

_CORRUPT = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, RecursionError)
"""What damaged or hostile archives make the standard library raise (RecursionError: chained extended headers)."""


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
    """What was read: files by path (decompressed), directories that were seen, and what could not be read.

    Paths keep the ending `.gz` of a compressed file.
    """

    files: dict[PathParts, bytes] = field(default_factory=dict)
    directories: set[PathParts] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class _LimitError(Exception):
    """The limits allow no further reading of this file, or of anything if `final`."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Readable(Protocol):
    """Something that bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


class _Collector:
    """Gathers contents within the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.contents = Contents()
        self._entries = 0
        self._bytes = 0
        self._problems_left_out = 0

    def entry(self) -> None:
        """Counts one file, directory, link or other entry."""
        self._entries += 1
        if self._entries > self.limits.max_files:
            raise _LimitError(f"it holds more than {self.limits.max_files} files: the rest was not read", final=True)

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
        try:
            content = self._read(stream)
            if path[-1].endswith(".gz"):
                content = self._inflate(content)
        except _LimitError as error:
            if error.final:
                raise
            self.problem(path, error.reason)
        except _GzipError as error:
            self.problem(path, str(error))
        else:
            self._bytes += len(content)
            self.contents.files[path] = content

    def _read(self, stream: Readable) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > self.limits.max_file_bytes:
                raise _LimitError(f"it is larger than {size_words(self.limits.max_file_bytes)}: not read", final=False)
            if self._bytes + size > self.limits.max_total_bytes:
                raise _LimitError(_total_reason(self.limits), final=True)
            chunks.append(chunk)
        return b"".join(chunks)

    def _inflate(self, content: bytes) -> bytes:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                return self._read(stream)
        except (EOFError, OSError, zlib.error) as error:
            raise _GzipError(f"its compressed text is damaged or cut short ({_words(error)}): not read") from error

    def finish(self) -> Contents:
        """The contents, with a last problem that counts those left out."""
        if self._problems_left_out:
            reason = f"{self._problems_left_out} more parts could not be read"
            self.contents.problems.append(Problem(path=(), reason=reason))
        return self.contents


class _GzipError(Exception):
    """Compressed text that cannot be inflated."""


def read_contents(path: Path, limits: Limits) -> Contents:
    """The files of the snapshot at `path`, a directory or an archive.

    Raises SnapshotError if there is no such thing or nothing of it can be read.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise SnapshotError(f"cannot open snapshot {path}: {_words(error)}", hint="check the path") from error
    collector = _Collector(limits)
    if stat.S_ISDIR(mode):
        reading: Callable[[Path, _Collector], None] = _read_directory
    elif stat.S_ISREG(mode):
        reading = _read_archive
    else:
        raise SnapshotError(f"{path} is neither a directory nor a regular file", hint=_ARCHIVE_HINT)
    try:
        reading(path, collector)
    except _LimitError as error:
        collector.problem((), error.reason)
    return collector.finish()


# Directories


def _read_directory(root: Path, collector: _Collector) -> None:
    try:
        present = sorted(os.listdir(root))
    except OSError as error:
        raise SnapshotError(
            f"cannot read snapshot directory {root}: {_words(error)}", hint="check its rights"
        ) from error
    # Only known places are looked at: the directory may be somebody's home.
    for first in present:
        depth = depth_of(first)
        if depth is not None:
            _walk(root, (first,), depth, collector)


def _walk(root: Path, path: PathParts, depth: int, collector: _Collector) -> None:
    collector.entry()
    full = root.joinpath(*path)
    if not path[-1].isprintable():
        collector.problem(path, "its name has characters that cannot be printed: not read")
        return
    try:
        mode = full.lstat().st_mode
        if stat.S_ISDIR(mode) and len(path) < depth:
            collector.contents.directories.add(path)
            for child in sorted(os.listdir(full)):
                if not child.startswith("."):
                    _walk(root, (*path, child), depth, collector)
            return
        reason = _refusal(path, depth, is_file=stat.S_ISREG(mode), is_directory=stat.S_ISDIR(mode))
        if reason:
            collector.problem(path, reason)
            return
        with closing(_open_regular(full)) as stream:
            collector.file(path, stream)
    except OSError as error:
        collector.problem(path, f"cannot be read: {_words(error)}")


def _open_regular(path: Path) -> BufferedIOBase:
    """Opens a regular file and nothing else, also if it was swapped for a link or a FIFO meanwhile."""
    descriptor = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return os.fdopen(descriptor, "rb")


def _refusal(path: PathParts, depth: int, *, is_file: bool, is_directory: bool) -> str:
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


# Archives


class _Member(tarfile.TarInfo):
    """A tar header. Unlike its base it takes damage for damage, not for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # a block of zeros: the regular end
                raise
            raise tarfile.ReadError(f"{error} in the middle of the archive") from error
        ordinary = member.type in tarfile.REGULAR_TYPES
        if member.size < 0 or (not ordinary and member.size > _EXTENDED_HEADER_BYTES):
            raise tarfile.ReadError("a header states an impossible size")
        return member


class _LimitedStream:
    """A stream that ends in _LimitError once more than `limits` allow has been inflated, skipped parts included."""

    def __init__(self, stream: BufferedIOBase, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        # Headers and padding take at most 2 KiB per entry.
        self._left = limits.max_total_bytes + 2048 * limits.max_files

    def read(self, size: int) -> bytes:
        """At most `size` bytes: all that there is before damage is met, not none of it."""
        chunk = self._stream.read1(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise _LimitError(_total_reason(self._limits), final=True)
        return chunk


def _read_archive(path: Path, collector: _Collector) -> None:
    try:
        with closing(_open_regular(path.resolve())) as file, _decompressed(file) as stream:
            _read_members(cast(IO[bytes], _LimitedStream(stream, collector.limits)), collector)
    except _CORRUPT as error:
        if not collector.contents.files:
            raise SnapshotError(f"cannot read {path} as an archive: {_words(error)}", hint=_ARCHIVE_HINT) from error
        collector.problem((), f"the archive is damaged or cut short ({_words(error)}): what comes after was not read")


@contextmanager
def _decompressed(file: BufferedIOBase) -> Iterator[BufferedIOBase]:
    """The tar stream inside; the compression is told from the first bytes, not from the name."""
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP_MAGIC):
        with gzip.GzipFile(fileobj=file) as inflated:
            yield inflated
    elif magic == _ZSTD_MAGIC:
        stream, error_type = _open_zstd(file)
        try:
            yield stream
        except error_type as error:
            raise tarfile.ReadError(str(error)) from error
    else:
        yield file


def _open_zstd(file: BufferedIOBase) -> tuple[BufferedIOBase, type[Exception]]:
    """A Zstandard stream and what it raises: the standard library's from Python 3.14 on, else that of `zstandard`."""
    try:
        module = importlib.import_module("compression.zstd")
        return module.ZstdFile(file), module.ZstdError
    except ImportError:
        pass
    try:
        module = importlib.import_module("zstandard")
        return module.ZstdDecompressor().stream_reader(file, read_across_frames=True), module.ZstdError
    except ImportError as error:
        raise SnapshotError(
            "this Python cannot read Zstandard archives",
            hint="unpack it first (zstd -d FILE.tar.zst), or install the Python package zstandard",
        ) from error


def _read_members(stream: IO[bytes], collector: _Collector) -> None:
    roots: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member, errorlevel=1) as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or the headers of all files pile up
            collector.entry()
            _read_member(archive, member, roots, collector)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, roots: set[str], collector: _Collector) -> None:
    path = tuple(part for part in member.name.split("/") if part not in ("", "."))
    if member.name.startswith("/") or ".." in path or not all(part.isprintable() for part in path):
        collector.problem(path, "its name leads out of the snapshot or cannot be printed: not read")
        return
    if any(part.startswith(".") for part in path):
        return
    if path and depth_of(path[0]) is None:  # all in one directory, as `tar c DIRECTORY` makes it
        if len(path) == 1 or depth_of(path[1]) is None:
            return
        roots.add(path[0])
        if len(roots) > 1:
            raise SnapshotError(f"the archive holds several snapshots: {', '.join(sorted(roots))}", hint=_ARCHIVE_HINT)
        path = path[1:]
    depth = depth_of(path[0]) if path else None
    if depth is None:
        return
    reason = _refusal(
        path,
        depth,
        is_file=member.isreg() and not member.issparse(),
        is_directory=member.isdir(),
    )
    if reason:
        collector.problem(path, reason)
    elif member.isdir():
        collector.contents.directories.update(_parents((*path, "")))
    else:
        collector.contents.directories.update(_parents(path))
        collector.file(path, cast(IO[bytes], archive.extractfile(member)))  # never None for a regular file


def _parents(path: PathParts) -> Iterable[PathParts]:
    return (path[:length] for length in range(1, len(path)))


def _total_reason(limits: Limits) -> str:
    return f"it holds more than {size_words(limits.max_total_bytes)}: the rest was not read"


def size_words(size_bytes: int) -> str:
    """A size for a message."""
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes} bytes"


def _words(error: BaseException) -> str:
    """An error in one line, without the path that the caller names already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
