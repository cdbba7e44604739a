"""Large texts that are read one after another, into the same memory.

To get memory from the system for a text takes twice as long as to read it. Nodes of one cluster have texts of about one size:
that of the last one is filled again once nobody holds it any more.
"""

from __future__ import annotations

import sys
from io import SEEK_END, BufferedIOBase, BytesIO

_USUAL_BYTES = 1 << 20
"""Memory for less than this is not got from the system each time."""


class LargeTexts:
    """Reads large texts. What was read is like any bytes, whoever holds them, and as long as somebody does."""

    def __init__(self) -> None:
        self._held: list[_Text] = []

    def read(self, stream: BufferedIOBase, size_bytes: int) -> bytes:
        """So much of a stream; less if it ends before. Raises OSError."""
        if size_bytes < _USUAL_BYTES:
            return stream.read(size_bytes)
        for text in self._held:
            if text.fits(size_bytes) and text.is_free():
                return text.fill(stream, size_bytes)
        # So there is never more of it than without.
        self._held = [text for text in self._held if not text.is_free()]
        content = stream.read(size_bytes)
        self._held.append(_Text(content))
        return content


class _Text:
    """The memory of a text. BytesIO fills it in place if nobody else holds it, and else a copy: nothing that is held changes."""

    def __init__(self, content: bytes) -> None:
        self._memory = BytesIO(content)
        self._content = content

    def fits(self, size_bytes: int) -> bool:
        """True for a text of about that size."""
        return abs(len(self._content) - size_bytes) < size_bytes >> 3

    def is_free(self) -> bool:
        """True if nobody holds the text that was read last."""
        return sys.getrefcount(self._content) <= 3  # the memory's, this one's and that of the call

    def fill(self, stream: BufferedIOBase, size_bytes: int) -> bytes:
        """Reads the next one."""
        memory, self._content = self._memory, b""
        if memory.seek(0, SEEK_END) < size_bytes:
            memory.seek(size_bytes - 1)
            memory.write(b"\0")
        memory.truncate(size_bytes)
        with memory.getbuffer() as there:
            read = stream.readinto(there)
        memory.truncate(read)
        self._content = memory.getvalue()
        return self._content
