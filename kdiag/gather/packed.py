"""Compressed text: read out of files, and held in memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from io import BufferedIOBase


def inflate(stream: BufferedIOBase, read: Callable[[BufferedIOBase], bytes]) -> bytes:
    """What `read` reads of text that was compressed with gzip. Raises OSError if it is damaged or cut short."""
    try:
        with gzip.GzipFile(fileobj=stream) as inflated:
            return read(inflated)
    except (EOFError, zlib.error) as error:
        raise OSError(str(error)) from error


class Packed:
    """Text that is held compressed: rules, to a sixth and less."""

    has_parts = False

    def __init__(self, content: bytes) -> None:
        self.size_bytes = len(content)
        self._packed = zlib.compress(content, 1)

    def read(self) -> bytes:
        """See Stored."""
        return zlib.decompress(self._packed, bufsize=self.size_bytes)

    def part(self, start: int, end: int) -> bytes:
        """See Stored."""
        return self.read()[start:end]
