"""The regions of a dump in which chains of one kind stand together: which chains they have, and where.

Nodes of one cluster have nearly the same. What is the same in the dump of another node is taken over from there.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.parse.chain_merge import Alike, Span, chain_at, differing_chains
from kdiag.parse.endpoint_forms import EndpointForms, endpoint_forms
from kdiag.parse.iptables_forms import ENDPOINT_KIND, ChainText

if TYPE_CHECKING:
    from kdiag.parse.iptables_cut import CutDump

SERVICE_KINDS = (b"KUBE-SVC-", b"KUBE-EXT-", b"KUBE-FW-", b"KUBE-SVL-", b"KUBE-XLB-")
"""The largest first: what is found needs not be searched for the others."""

# Nearly all lines are like each other: those are read first, as many as follow each other.
_DECLARED = re.compile(
    rb":(KUBE-[A-Z]+-)[!-~]++ [!-~]++ \[\d++:\d++\]\n"
    rb"(?:(?::\1[!-~]{16} - \[0:0\]\n)++|:\1[!-~]++ [!-~]++ \[\d++:\d++\]\n)*+"
)
_BLOCK = re.compile(rb"-A (KUBE-[A-Z]+-[A-Z2-7]{16}) [^\n]*+\n(?:-A \1 [^\n]*+\n)*+")
_HASH = re.compile(rb"(?m:^)-A KUBE-SEP-([A-Z2-7]{16}) ")
_BYTES_A_CHANGE = 4_000
"""Where more chains differ than one in so many bytes, reading all of them is as cheap as finding out which."""


class Chains(Struct):
    """The chains of Services, where each stands, in order of the dump, and what is known of them from another dump; and
    those of endpoints. `changed` are the names of chains that are not as in that dump, or that lead to such; `come` are the
    endpoints' chains that are not, if the others are taken from there. `alike` are the regions that were compared."""

    spans: dict[bytes, Span] = field(default_factory=dict)
    texts: dict[bytes, ChainText] = field(default_factory=dict)
    endpoints: EndpointForms | None = None
    changed: set[bytes] = field(default_factory=set)
    come: EndpointForms | None = None
    alike: list[Alike] = field(default_factory=list)


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


def is_pure(content: bytes, beginning: bytes, region: Span, lines: int) -> bool:
    """True if all lines of a region, of which there are so many, have this beginning."""
    first, stop = region
    return content.count(b"\n" + beginning, first - 1, stop) == lines


def without(spans: list[Span], region: Span) -> list[Span]:
    """What is left of spans before and behind a region."""
    parts = [part for start, end in spans for part in ((start, min(end, region[0])), (max(start, region[1]), end))]
    return [(start, end) for start, end in parts if start < end]


def service_chains(content: bytes, regions: Mapping[bytes, Span], like: CutDump | None) -> Chains | None:
    """All but the endpoints; None unless chains of one kind follow each other without a line left."""
    found = Chains()
    for kind in sorted(set(SERVICE_KINDS) & regions.keys(), key=lambda kind: regions[kind]):
        alike = _alike(like, kind, content, regions[kind]) if like is not None else None
        if like is None or alike is None:
            if not _add_chains(content, regions[kind], kind, found.spans):
                return None
        else:
            found.alike.append(alike)
            if not _add_merged(like, alike, content, kind, found.spans, found.texts):
                return None
    if like is not None:
        found.changed = (like.chains.keys() | found.spans.keys()) - found.texts.keys()
    return found


def add_endpoint_chains(found: Chains, content: bytes, region: Span | None, like: CutDump | None) -> bool:
    """Read the chains of endpoints. False if they are not in order or lead on to others."""
    alike = None
    if region is not None and like is not None and like.endpoints is not None:
        alike = _alike(like, ENDPOINT_KIND, content, region)
    if alike is not None:
        found.alike.append(alike)
    if like is None or like.endpoints is None or alike is None or not _in_order(content, alike):
        found.endpoints = endpoint_forms(content, region)
        if like is not None and like.endpoints is not None and found.endpoints is not None:
            _send_again(found, found.endpoints, {*like.endpoints.names(), *found.endpoints.names()})
        return found.endpoints is not None
    gone = _HASH.findall(b"".join([like.content[start:end] for (start, end), _ in alike.pairs]))
    come = b"".join([content[start:end] for _, (start, end) in alike.pairs])
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


def _alike(like: CutDump, kind: bytes, content: bytes, region: Span) -> Alike | None:
    """In which chains a region differs from that of the same kind in `like`; None if it is not worth the while to know."""
    known = like.regions.get(kind)
    if known is None:
        return None
    most = (region[1] - region[0]) // _BYTES_A_CHANGE + 8
    pairs = list(islice(differing_chains(like.content, known, content, region), most + 1))
    return Alike(known, region, pairs) if len(pairs) <= most else None


def _add_merged(
    like: CutDump, alike: Alike, content: bytes, kind: bytes, spans: dict[bytes, Span], texts: dict[bytes, ChainText]
) -> bool:
    """Note where the chains of a region stand, and what is known of those that are the same. False like _add_chains."""
    chains = [(span, name) for name, span in like.chains.items() if name.startswith(kind)]
    known = like.read_all()
    position, (there, here) = 0, (alike.old[0], alike.new[0])
    for gone, come in (*alike.pairs, ((alike.old[1], alike.old[1]), (alike.new[1], alike.new[1]))):
        following = bisect_left(chains, ((gone[0],),), position)
        same = chains[position:following]
        count, shift = len(spans) + len(same), here - there
        for (start, end), name in same:
            spans[name] = (start + shift, end + shift)
            texts[name] = known[name]
        # A chain must not stand in two places.
        if len(spans) < count or (come[0] < come[1] and not _add_chains(content, come, kind, spans)):
            return False
        position = bisect_left(chains, ((gone[1],),), following)
        there, here = gone[1], come[1]
    return True


def _in_order(content: bytes, alike: Alike) -> bool:
    """True if each of the new spans of a region fits between the chains before and behind it."""
    region = alike.new
    for _, (start, end) in alike.pairs:
        if start == end:
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
