"""Lists of the API that have one object a line, as `kdiag.gather.api_pages` writes them."""

from __future__ import annotations

from collections.abc import Iterator

from kdiag.model.snapshot import Part, Stored

Line = tuple[int, int, memoryview]
"""An encoded object: where it begins and ends in a text, and its bytes."""

_ITEMS, _END = b'"items":[\n', b"\n]}\n"
_LINE_END, _COMMA = b"\n", ord(",")
_PIECE_BYTES = 1 << 20


class Lines:
    """A list of encoded objects, one a line, as `kdiag.gather.api_pages` writes it: `head` is the list without any."""

    def __init__(self, whole: bytes | Stored, head: bytes, start: int, end: int) -> None:
        self.head = head
        self.size_bytes = end - start
        self.whole, self._start, self._end = whole, start, end

    def __iter__(self) -> Iterator[Line]:
        """Where each line begins and ends, and the line. That it is a whole object is for the decoder to find: it refuses halves.

        Of a file a piece is in memory at a time: getting memory for all of it takes longer than reading it.
        """
        start, size = self._start, _PIECE_BYTES
        while True:
            if isinstance(self.whole, bytes):
                piece, offset, end = self.whole, 0, self._end
            else:
                end = min(start + size, self._end)
                piece, offset = self.whole.part(start, end), start
            view, stop = memoryview(piece), end - offset
            first = at = searched = start - offset
            # One byte is found ten times as fast as two.
            while (found := piece.find(_LINE_END, searched, stop) - 1) >= 0:
                searched = found + 2
                if piece[found] == _COMMA:
                    yield offset + at, offset + found, view[at:found]
                    at = searched
            if end == self._end:
                yield offset + at, end, view[at:stop]
                return
            start, size = offset + at, _PIECE_BYTES if at > first else 2 * size


def lines_of(whole: bytes | Stored) -> Lines | None:
    """The objects of a list that has one a line; None if its ends are not those of one."""
    size_bytes = len(whole) if isinstance(whole, bytes) else whole.size_bytes
    beginning = bytes(Part(whole, 0, min(4096, size_bytes)).read())
    start = beginning.find(_ITEMS) + len(_ITEMS)
    end = size_bytes - len(_END)
    if start < len(_ITEMS) or end <= start or Part(whole, end, size_bytes).read() != _END:
        return None
    return Lines(whole, beginning[:start] + b"]}", start, end)
