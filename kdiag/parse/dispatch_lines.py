"""Rules of chains that have one for each address of a Service, with what is the Service's own taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from kdiag.parse.chain_merge import Span
from kdiag.parse.service_words import COMMENT, ENDPOINT_KIND, LINK, Key

# Chains with a rule for each address. Those without an address are for NodePorts.
DISPATCH = {
    (b"nat", b"KUBE-SERVICES"): False,
    (b"nat", b"KUBE-NODEPORTS"): True,
    (b"filter", b"KUBE-SERVICES"): False,
    (b"filter", b"KUBE-EXTERNAL-SERVICES"): True,
    (b"filter", b"KUBE-PROXY-FIREWALL"): False,
}

_DISPATCHED = re.compile(
    rb"-A [A-Z-]+ (.*?)(?:-d ([0-9a-f.:]+)/(?:32|128) )?-p (tcp|udp|sctp)(.*?) -m \3 --dport (\d+)( .*)?"
)

# As most lines are: nothing else in them than where to, and a comment.
_USUAL = re.compile(
    rb"(?m:^)-A [A-Z-]++ (?:-d ([0-9a-f.:]++)/(?:32|128) )?+-p (tcp|udp|sctp)"
    rb'(?: -m comment --comment "[^"\\\n]*+")?+ -m \2 --dport (\d++) -j (KUBE-(?:SVC|EXT)-[A-Z2-7]{16})(?:\n|\Z)'
)

Read = tuple[Key, bytes, tuple[bytes, ...]]
"""The key of a dispatch line, what is left of it without the key and comments, and the Services' chains that it names."""


class LineForm(NamedTuple):
    """All of a dispatch line but where it stands and what is a Service's own.

    `behind` counts the rules of the rest that stand before it in its chain. In `text` stands `\\2` for the key and `\\3` for the
    name of a Service's chain.
    """

    table: bytes
    chain: bytes
    behind: int
    text: bytes


class DispatchLine(Struct, frozen=True, gc=False):
    """A rule of a dispatch chain: where it stands, its form, and the Services' chains that it names."""

    span: Span
    form: LineForm
    links: tuple[bytes, ...]

    @property
    def table(self) -> bytes:
        """The table that it stands in."""
        return self.form.table

    @property
    def place(self) -> tuple[bytes, bytes]:
        """The table and the chain that it stands in."""
        return self.form[:2]


def read_lines(content: bytes, region: Span, *, without_address: bool) -> Iterator[tuple[int, Read | None]]:
    """The lines of a region of one dispatch chain: where each ends, and what is in it; None if it is for no address of a
    Service."""
    position, stop = region
    for usual in _USUAL.finditer(content, position, stop):
        start, end = usual.span()
        if position < start:
            yield from _one_by_one(content, (position, start), without_address=without_address)
        address, protocol, port, link = usual.groups(b"")
        yield end, ((address, protocol, port), _USUAL_TEXT, (link,)) if address or without_address else None
        position = end
    yield from _one_by_one(content, (position, stop), without_address=without_address)


def _one_by_one(content: bytes, region: Span, *, without_address: bool) -> Iterator[tuple[int, Read | None]]:
    start, stop = region
    while start < stop:
        end = content.index(b"\n", start) + 1
        yield end, read_line(content[start : end - 1], without_address)
        start = end


_USUAL_TEXT = b"\2 -j \3"


def read_line(raw: bytes, without_address: bool) -> Read | None:
    """What is in a dispatch line; None if it is for no address of a Service."""
    plain = COMMENT.sub(b"", raw)
    found = _DISPATCHED.fullmatch(plain)
    if found is None or not (found[2] is not None or without_address) or ENDPOINT_KIND in plain:
        return None
    before, address, protocol, between, port, after = found.groups(b"")
    text = b"%b\2%b%b" % (before, between, LINK.sub(b"\3", after))
    return (address, protocol, port), text, tuple(LINK.findall(after))
