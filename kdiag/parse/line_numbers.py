"""The numbers of lines in a large text."""

from __future__ import annotations

_PIECE_BYTES = 1 << 13


class LineNumbers:
    """Counts the lines of a text once, piece by piece, as far as somebody asks."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._numbers = [1]

    def at(self, position: int) -> int:
        """The 1-based number of the line that a byte stands in."""
        piece = position // _PIECE_BYTES
        numbers = self._numbers
        for start in range((len(numbers) - 1) * _PIECE_BYTES, piece * _PIECE_BYTES, _PIECE_BYTES):
            numbers.append(numbers[-1] + self._content.count(b"\n", start, start + _PIECE_BYTES))
        return numbers[piece] + self._content.count(b"\n", piece * _PIECE_BYTES, position)
