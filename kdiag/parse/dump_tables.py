"""The tables of a dump of `iptables-save`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from kdiag.parse.chain_merge import Span

_LINE_END = 0x0A


def tables_of(content: bytes, chains: list[Span]) -> dict[bytes, Span] | None:
    """What stands between `*table` and COMMIT of each table of a text that ends with a line; None if a table is cut off or
    shown twice, or if the text has lines of another kind than iptables writes. Only rules stand in `chains`, which are not
    looked at."""
    around = complement(chains, len(content))
    if has_returns(content, around):
        return None
    found: dict[bytes, Span] = {}
    starts = [start for span in around for start in _table_starts(content, span)]
    for start, following in pairwise([*starts, len(content)]):
        begin = content.index(b"\n", start) + 1
        end = content.rfind(b"\nCOMMIT\n", begin - 1, following) + 1
        table = content[start + 1 : begin - 1]
        if table in found or not table.isalpha() or not end:
            return None
        found[table] = (begin, end)
    return found


def has_returns(content: bytes, spans: Iterable[Span]) -> bool:
    """True if a carriage return stands somewhere in these."""
    return any(content.find(b"\r", start, end) >= 0 for start, end in spans)


def _table_starts(content: bytes, span: Span) -> Iterator[int]:
    """Where lines begin with a star. Single bytes are found at the speed of memory, unlike two."""
    position = content.find(b"*", *span)
    while position >= 0:
        if position == 0 or content[position - 1] == _LINE_END:
            yield position
        position = content.find(b"*", position + 1, span[1])


def complement(taken: list[Span], size: int) -> tuple[Span, ...]:
    """What is left of a text of this size."""
    rest = []
    position = 0
    for start, end in sorted(taken):
        if position < start:
            rest.append((position, start))
        position = end
    if position < size:
        rest.append((position, size))
    return tuple(rest)
