"""Files of a snapshot, read from a tar archive that may come from a stranger.

Nothing is ever unpacked to disk. Links and special files are not followed, names that leave the snapshot are refused,
and compressed text is inflated piece by piece, so that a limit stops it before memory does.
"""

from __future__ import annotations

import gzip
import importlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, cast

from kdiag.errors import SnapshotError
from kdiag.gather.contents import (
    ARCHIVE_HINT,
    Collector,
    LimitError,
    Limits,
    open_regular,
    refusal,
    total_reason,
    words,
)
from kdiag.gather.snapshot_layout import PathParts, depth_of

_EXTENDED_HEADER_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CORRUPT = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, RecursionError)
"""What damaged or hostile archives make the standard library raise (RecursionError: chained extended headers)."""


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
    """A stream that ends in LimitError once more than `limits` allow has been inflated, skipped parts included."""

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
            raise LimitError(total_reason(self._limits), final=True)
        return chunk


def read_archive(path: Path, collector: Collector) -> None:
    """Reads all members. Raises SnapshotError if there is nothing that can be read, and LimitError."""
    try:
        with closing(open_regular(path.resolve())) as file, _decompressed(file) as stream:
            _read_members(cast(IO[bytes], _LimitedStream(stream, collector.limits)), collector)
    except _CORRUPT as error:
        if not collector.contents.files:
            raise SnapshotError(f"cannot read {path} as an archive: {words(error)}", hint=ARCHIVE_HINT) from error
        collector.problem((), f"the archive is damaged or cut short ({words(error)}): what comes after was not read")


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


def _read_members(stream: IO[bytes], collector: Collector) -> None:
    roots: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member, errorlevel=1) as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or the headers of all files pile up
            collector.entry()
            _read_member(archive, member, roots, collector)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, roots: set[str], collector: Collector) -> None:
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
            raise SnapshotError(f"the archive holds several snapshots: {', '.join(sorted(roots))}", hint=ARCHIVE_HINT)
        path = path[1:]
    depth = depth_of(path[0]) if path else None
    if depth is None:
        return
    reason = refusal(
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
