"""Where two dumps differ: chains of one kind, printed by name in both, compared at the speed of memory.

Nodes of one cluster have nearly the same chains. What is the same in both is found by comparing twice as much each time,
and half as much again where something differs; only chains in between are looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

Span = tuple[int, int]
"""From the first byte to the one behind the last; always whole lines."""


class Alike(NamedTuple):
    """Where regions of two dumps stand that are the same but for some chains, and where these stand in each of them."""

    old: Span
    new: Span
    pairs: list[tuple[Span, Span]]

    def moved(self, line: Span) -> Span | None:
        """Where a line of the old region stands in the new one; None if it is in what differs."""
        (there, _), (here, _) = self.old, self.new
        index = bisect_left(self.pairs, ((line[1],),)) - 1
        if index >= 0:
            (_, there), (_, here) = self.pairs[index]
        if line[0] < there:
            return None
        return line[0] - there + here, line[1] - there + here


_FIRST_STEP = 8192
_LAST_STEP = 128
_LONGEST_STEP = 1 << 20


def differing_chains(old: bytes, old_region: Span, new: bytes, new_region: Span) -> Iterator[tuple[Span, Span]]:
    """The chains in which two regions of rules (`-A NAME …`) or declarations (`:NAME …`) differ, in order: where each
    stands in the old one and in the new one; an empty span where it is not there.

    What lies between two of these spans, and before the first and behind the last, is the same in both, byte by byte.
    That holds for any two regions. In regions that are sorted by name and have each chain in one piece, only chains that
    really differ are named.
    """
    (at, stop), (new_at, new_stop) = old_region, new_region
    view = memoryview(old)
    while at < stop and new_at < new_stop:
        same = _common(view, at, stop, new, new_at, new_stop)
        if at + same == stop and new_at + same == new_stop:
            return
        same = _whole_chains(old, at, same, stop, new, new_at, new_stop)
        at, new_at = at + same, new_at + same
        if at == stop or new_at == new_stop:
            break
        name, new_name = beginning_at(old, at, stop), beginning_at(new, new_at, new_stop)
        end = at if name > new_name else _end(old, name, at, stop)
        new_end = new_at if name < new_name else _end(new, new_name, new_at, new_stop)
        yield (at, end), (new_at, new_end)
        at, new_at = end, new_end
    if at < stop or new_at < new_stop:
        yield (at, stop), (new_at, new_stop)


def _common(old: memoryview, at: int, stop: int, new: bytes, new_at: int, new_stop: int) -> int:
    """How many bytes are the same from two places on."""
    most = min(stop - at, new_stop - new_at)
    starts, first, end, step = new.startswith, at, at + most, _FIRST_STEP
    while at < end and starts(old[at : min(at + step, end)], new_at):
        at, new_at = at + step, new_at + step
        step = min(2 * step, _LONGEST_STEP)
    if at >= end:
        return most
    step = min(step, end - at)
    while step > _LAST_STEP:
        half = step // 2
        if starts(old[at : at + half], new_at):
            at, new_at = at + half, new_at + half
            step -= half
        else:
            step = half
    # As numbers, two short pieces show at once where they begin to differ.
    number = int.from_bytes(old[at : at + step], "big") ^ int.from_bytes(new[new_at : new_at + step], "big")
    return at - first + step - (number.bit_length() + 7) // 8


def _whole_chains(old: bytes, at: int, same: int, stop: int, new: bytes, new_at: int, new_stop: int) -> int:
    """How many of the bytes that are the same are chains that end there in both."""
    line = old.rfind(b"\n", at, at + same) + 1 or at
    if line == at:
        return 0
    start = old.rfind(b"\n", at, line - 1) + 1 or at
    beginning = beginning_at(old, start, stop)
    if not old.startswith(beginning, line, stop) and not new.startswith(beginning, new_at + line - at, new_stop):
        return line - at
    # The last chain goes on in one of them.
    while start > at:
        before = old.rfind(b"\n", at, start - 1) + 1 or at
        if not old.startswith(beginning, before):
            break
        start = before
    return start - at


def beginning_at(content: bytes, line: int, stop: int) -> bytes:
    """What all lines of a chain begin with."""
    space = content.find(b" ", line + len(b"-A "), stop)
    return content[line : space + 1] if space >= 0 else content[line:stop]


def chain_at(content: bytes, at: int, stop: int) -> tuple[bytes, int]:
    """What all lines of the chain begin with of which one stands here, and where it ends, before `stop` at the latest."""
    beginning = beginning_at(content, at, stop)
    return beginning, _end(content, beginning, at, stop)


def _end(content: bytes, beginning: bytes, at: int, stop: int) -> int:
    end = content.find(b"\n", at, stop) + 1 or stop
    while end < stop and content.startswith(beginning, end):
        end = content.find(b"\n", end, stop) + 1 or stop
    return end
