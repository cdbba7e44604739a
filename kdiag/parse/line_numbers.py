"""The numbers of lines in a large text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from kdiag.parse.chain_merge import Alike, Span

_PIECE_BYTES = 1 << 12


class LineNumbers:
    """Counts the lines of a text once, piece by piece, as far as somebody asks. Those of `counted` spans are known from the
    start, but not where they stand."""

    def __init__(self, content: bytes, counted: Iterable[tuple[Span, int]] = ()) -> None:
        self._content = content
        self._counted = counted
        # Where spans begin, and the numbers of the lines there, at the next piece, and so on as far as these are known.
        self._starts: list[int] = []
        self._numbers: list[list[int]] = []

    def at(self, position: int) -> int:
        """The 1-based number of the line that a byte stands in."""
        if not self._starts:
            self._put_together()
        index = bisect_right(self._starts, position) - 1
        return self._within(self._starts[index], self._numbers[index], position)

    def _within(self, start: int, numbers: list[int], position: int) -> int:
        known, piece = len(numbers) - 1, (position - start) // _PIECE_BYTES
        for place in range(start + known * _PIECE_BYTES, start + piece * _PIECE_BYTES, _PIECE_BYTES):
            numbers.append(numbers[-1] + self._content.count(b"\n", place, place + _PIECE_BYTES))
        return numbers[piece] + self._content.count(b"\n", start + piece * _PIECE_BYTES, position)

    def _put_together(self) -> None:
        position, number = 0, 1
        for (start, end), lines in [*sorted(self._counted), ((len(self._content),) * 2, 0)]:
            if position < start:
                number = self._within(position, self._add(position, number), start)
            self._add(start, number)
            position, number = end, number + lines

    def _add(self, start: int, number: int) -> list[int]:
        self._starts.append(start)
        self._numbers.append([number])
        return self._numbers[-1]


class LineNumbersAfter:
    """The same for a text of which much stands in another one, too: lines of `alike` regions are counted there."""

    def __init__(
        self, content: bytes, other: bytes, lines: LineNumbers | LineNumbersAfter, alike: Sequence[Alike]
    ) -> None:
        self._content = content
        self._other = other
        self._lines = lines
        self._alike = alike
        # Where pieces begin; and of each, where it stands in the other text, how many bytes are the same, and the
        # difference of the numbers there. Nothing is the same of a piece that had to be counted.
        self._starts: list[int] = []
        self._pieces: list[tuple[int, int, int]] = []

    def at(self, position: int) -> int:
        """The 1-based number of the line that a byte stands in."""
        if not self._starts:
            self._compare()
        index = bisect_right(self._starts, position) - 1
        start, (there, same, ahead) = self._starts[index], self._pieces[index]
        same = min(same, position - start)
        return self._lines.at(there + same) + ahead + self._content.count(b"\n", start + same, position)

    def _compare(self) -> None:
        self._add(0, 0, 0, 0)
        position, number = 0, 1
        for old, new, pairs in sorted(self._alike, key=lambda region: region.new):
            number = self._count(position, new[0], number)
            there, position = old[0], new[0]
            ahead = number - self._lines.at(there)
            for gone, come in (*pairs, ((old[1], old[1]), (new[1], new[1]))):
                self._starts.append(position)
                self._pieces.append((there, gone[0] - there, ahead))
                start, position = come
                if position - start > _PIECE_BYTES:
                    self._count(start, position, self._lines.at(gone[0]) + ahead)
                if start < position:
                    ahead += self._content.count(b"\n", start, position)
                there = gone[1]
                if gone[0] < there:
                    ahead -= self._other.count(b"\n", gone[0], there)
            number = self._lines.at(there) + ahead
        self._count(position, len(self._content), number)

    def _count(self, start: int, end: int, number: int) -> int:
        """Count a piece that begins in the line of this number; the number of the line behind it."""
        for place in range(start, end, _PIECE_BYTES):
            self._add(place, 0, 0, number - 1)
            number += self._content.count(b"\n", place, min(place + _PIECE_BYTES, end))
        return number

    def _add(self, start: int, there: int, same: int, ahead: int) -> None:
        self._starts.append(start)
        self._pieces.append((there, same, ahead))
