"""The regions of a dump in which chains of one kind stand together: which chains they have, and where.

Nodes of one cluster have nearly the same. What is the same in the dump of another node is taken over from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.parse.chain_merge import Span, chain_at, differing_chains
from kdiag.parse.endpoint_forms import EndpointForms, endpoint_forms
from kdiag.parse.iptables_forms import ChainText
from kdiag.parse.line_numbers import LineNumbers

if TYPE_CHECKING:
    from kdiag.parse.iptables_cut import CutDump

SERVICE_KINDS = (b"KUBE-SVC-", b"KUBE-EXT-", b"KUBE-FW-", b"KUBE-SVL-", b"KUBE-XLB-")
"""The largest first: what is found needs not be searched for the others."""

_DECLARED = re.compile(rb":(KUBE-[A-Z]+-)[!-~]++ [!-~]++ \[\d++:\d++\]\n(?::\1[!-~]++ [!-~]++ \[\d++:\d++\]\n)*+")
_BLOCK = re.compile(rb"-A (KUBE-[A-Z]+-[A-Z2-7]{16}) [^\n]*+\n(?:-A \1 [^\n]*+\n)*+")
_HASH = re.compile(rb"(?m:^)-A KUBE-SEP-([A-Z2-7]{16}) ")
_BYTES_A_CHANGE = 4_000
"""Where more chains differ than one in so many bytes, reading all of them is as cheap as finding out which."""


class Chains(Struct):
    """The chains of Services, where each stands, in order of the dump, and what is known of them from another dump; and
    those of endpoints. `changed` are the names of chains that are not as in that dump, or that lead to such; `come` are the
    endpoints' chains that are not, if the others are taken from there."""

    spans: dict[bytes, Span] = field(default_factory=dict)
    texts: dict[bytes, ChainText] = field(default_factory=dict)
    endpoints: EndpointForms | None = None
    changed: set[bytes] = field(default_factory=set)
    come: EndpointForms | None = None


def region_of(content: bytes, beginning: bytes, within: list[Span]) -> Span | None:
    """From the first line with this beginning to the last; None if there is none."""
    marker = b"\n" + beginning
    first = last = -1
    for start, end in within:
        if first < 0:
            first = content.find(marker, start - 1, end)
        last = max(last, content.rfind(marker, start - 1, end))
    return None if first < 0 else (first + 1, content.index(b"\n", last + 1) + 1)


def declares_only(kind: bytes, content: bytes, region: Span) -> bool:
    """True if all lines of a region declare chains of this kind."""
    found = _DECLARED.fullmatch(content, *region)
    return found is not None and found[1] == kind


def is_pure(content: bytes, beginning: bytes, region: Span, lines: LineNumbers) -> bool:
    """True if all lines of a region have this beginning."""
    first, stop = region
    return lines.at(stop) - lines.at(first) == content.count(b"\n" + beginning, first - 1, stop)


def without(spans: list[Span], region: Span) -> list[Span]:
    """What is left of spans before and behind a region."""
    parts = [part for start, end in spans for part in ((start, min(end, region[0])), (max(start, region[1]), end))]
    return [(start, end) for start, end in parts if start < end]


def service_chains(content: bytes, regions: Mapping[bytes, Span], like: CutDump | None) -> Chains | None:
    """All but the endpoints; None unless chains of one kind follow each other without a line left."""
    found = Chains()
    for kind in SERVICE_KINDS:
        if kind not in regions:
            continue
        unread = [regions[kind]]
        pairs = _differences(like, like.regions.get(kind), content, regions[kind]) if like is not None else None
        if like is not None and pairs is not None:
            for name, span in _same_chains(like, kind, pairs, regions[kind]):
                text = like.text(name)
                if text is not None:
                    found.spans[name], found.texts[name] = span, text
            unread = [new for _, new in pairs if new[0] < new[1]]
        for span in unread:
            if not _add_chains(content, span, kind, found.spans):
                return None
    found.spans = dict(sorted(found.spans.items(), key=lambda item: item[1]))
    if like is not None:
        found.changed = (like.chains.keys() | found.spans.keys()) - found.texts.keys()
    return found


def add_endpoint_chains(found: Chains, content: bytes, region: Span | None, like: CutDump | None) -> bool:
    """Read the chains of endpoints. False if they are not in order or lead on to others."""
    pairs = None
    if region is not None and like is not None and like.endpoints is not None:
        pairs = _differences(like, like.endpoint_region, content, region)
    if like is None or like.endpoints is None or pairs is None or not _in_order(content, region, pairs):
        found.endpoints = endpoint_forms(content, region)
        if like is not None and like.endpoints is not None and found.endpoints is not None:
            _send_again(found, found.endpoints, {*like.endpoints.names(), *found.endpoints.names()})
        return found.endpoints is not None
    gone = _HASH.findall(b"".join([like.content[start:end] for (start, end), _ in pairs]))
    come = b"".join([content[start:end] for _, (start, end) in pairs])
    new = endpoint_forms(come, (0, len(come)))
    if new is None:
        return False
    found.endpoints, found.come = like.endpoints.changed(gone, new), new
    _send_again(found, found.endpoints, {*gone, *new.names()})
    return True


def _send_again(found: Chains, endpoints: EndpointForms, changed: set[bytes]) -> None:
    """Find out again where chains send packets to whose endpoints' chains changed, by the hash in the names of these."""
    for name, text in found.texts.items():
        if not changed.isdisjoint(text.endpoints):
            listed = text.form.listed(text.endpoints)
            found.texts[name] = replace(text, sent=None if listed is None else endpoints.sent_to(listed))
            found.changed.add(name)


def _differences(like: CutDump, known: Span | None, content: bytes, region: Span) -> list[tuple[Span, Span]] | None:
    """The chains in which a region differs from a known one of `like`; None if that is not worth the while."""
    if known is None:
        return None
    most = (region[1] - region[0]) // _BYTES_A_CHANGE + 8
    pairs = list(islice(differing_chains(like.content, known, content, region), most + 1))
    return pairs if len(pairs) <= most else None


def _same_chains(
    like: CutDump, kind: bytes, pairs: list[tuple[Span, Span]], region: Span
) -> Iterator[tuple[bytes, Span]]:
    """The chains of `like` that do not differ, and where they stand now."""
    stop = like.regions[kind][1]
    left = iter([*pairs, ((stop, stop), (region[1], region[1]))])
    shift = region[0] - like.regions[kind][0]
    (gone, after), (_, new_after) = next(left)
    for name, (start, end) in like.chains.items():
        if not name.startswith(kind):
            continue
        while start >= after and after < stop:
            shift = new_after - after
            (gone, after), (_, new_after) = next(left)
        if end <= gone:
            yield name, (start + shift, end + shift)


def _in_order(content: bytes, region: Span | None, pairs: list[tuple[Span, Span]]) -> bool:
    """True if each of the new spans of a region fits between the chains before and behind it."""
    for _, (start, end) in pairs:
        if region is None or start == end:
            continue
        if start > region[0]:
            before, _ = chain_at(content, content.rfind(b"\n", 0, start - 1) + 1, start)
            if before >= chain_at(content, start, end)[0]:
                return False
        if end < region[1]:
            last, _ = chain_at(content, content.rfind(b"\n", 0, end - 1) + 1, end)
            if last >= chain_at(content, end, region[1])[0]:
                return False
    return True


def _add_chains(content: bytes, region: Span, kind: bytes, chains: dict[bytes, Span]) -> bool:
    """Note where each chain of a region stands. False unless chains of the kind follow each other without a line left."""
    position = region[0]
    for found in _BLOCK.finditer(content, *region):
        if found.start() != position or found[1] in chains or not found[1].startswith(kind):
            return False
        position = found.end()
        chains[found[1]] = found.span()
    return position == region[1]
