"""The regions of a dump in which chains of one kind stand together: which chains they have, and where.

Nodes of one cluster have nearly the same. What is the same in the dump of another node is taken over from there.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.parse.chain_merge import Alike, Span, beginning_at, chain_at, differing_chains
from kdiag.parse.declarations import Declared, declared_alike, declares_only
from kdiag.parse.dispatch_lines import DISPATCH
from kdiag.parse.dispatch_regions import ChainName
from kdiag.parse.endpoint_forms import EndpointForms, endpoint_forms
from kdiag.parse.iptables_forms import CHAIN, ChainForms, ChainText
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.service_words import ENDPOINT_KIND

SERVICE_KINDS = (b"KUBE-SVC-", b"KUBE-EXT-", b"KUBE-FW-", b"KUBE-SVL-", b"KUBE-XLB-")
"""The largest first: what is found needs not be searched for the others."""

_HASH = re.compile(rb"(?m:^)-A KUBE-SEP-([A-Z2-7]{16}) ")
_SHORT_BYTES = 4_000
_BYTES_A_CHANGE = 4_000
"""Where more chains differ than one in so many bytes, reading all of them is as cheap as finding out which."""
_COUNTED_BYTES = 1 << 13
"""Of pieces of so many bytes the number of lines is noted."""


class Chains(Struct):
    """The chains of Services, where each stands, in order of the dump, and what is in them; and those of endpoints, without
    which no chain is read. `changed` are the names of chains that are not as in another dump, or that lead to such; `come` are the
    endpoints' chains that are not, and `places` where they stand, if the others are taken from there; `differing` are the hashes in
    the names of endpoints' chains that are not there as in the other dump. `alike` are the regions that were compared. `counted` are
    pieces of the dump, and how many lines each has."""

    forms: ChainForms
    keep_names: bool = True
    spans: dict[bytes, Span] = field(default_factory=dict)
    texts: dict[bytes, ChainText] = field(default_factory=dict)
    leading: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    endpoints: EndpointForms | None = None
    changed: set[bytes] = field(default_factory=set)
    come: EndpointForms | None = None
    places: dict[bytes, Span] = field(default_factory=dict)
    differing: set[bytes] = field(default_factory=set)
    alike: dict[bytes, Alike] = field(default_factory=dict)
    counted: list[tuple[Span, int]] = field(default_factory=list)


class Regions(Struct):
    """Where in a dump the declarations and the rules of each kind of chain stand together, and those of dispatch chains."""

    declared: dict[bytes, Span] = field(default_factory=dict)
    rules: dict[bytes, Span] = field(default_factory=dict)
    dispatched: dict[ChainName, Span] = field(default_factory=dict)


def largest_regions(content: bytes) -> list[Span]:
    """Where the rules of endpoints and of cluster IPs seem to stand in table nat, as most rules do."""
    start = content.find(b"\n*nat\n") + 1
    position = _end_of_run(content, b":", start + len(b"*nat\n"), len(content))
    found = []
    for kind in (ENDPOINT_KIND, SERVICE_KINDS[0]):
        region = region_of(content, b"-A " + kind, [(position, len(content))])
        if region is not None:
            found.append(region)
            position = region[1]
    return found


def find_regions(content: bytes, tables: Mapping[bytes, Span]) -> Regions | None:
    """The regions in a dump's tables; None if a line of them stands elsewhere, or another one in them.

    What is between their declarations, and between the chains of Services and of endpoints, is looked at when these are read.
    """
    found = Regions()
    for table, (start, end) in tables.items():
        rules = _end_of_run(content, b":", start, end)
        # What was found needs not be searched again for what is not in it: most of a dump are the chains of endpoints.
        left, left_declared = [(rules, end)], [(start, rules)]
        kinds = (ENDPOINT_KIND, *SERVICE_KINDS) if table == b"nat" else ()
        for kind in kinds:
            where = region_of(content, b":" + kind, left_declared)
            if where is not None:
                found.declared[kind] = where
                left_declared = without(left_declared, where)
        chains = [name for name in DISPATCH if name[0] == table]
        for beginning in (*kinds[:2], *chains, *kinds[2:]):
            marker = b"-A " + (beginning if isinstance(beginning, bytes) else beginning[1] + b" ")
            where = region_of(content, marker, left)
            if where is None:
                continue
            left = without(left, where)
            if isinstance(beginning, bytes):
                found.rules[beginning] = where
            elif is_pure(content, marker, where, content.count(b"\n", *where)):
                found.dispatched[beginning] = where
            else:
                return None
        markers = [begin + kind for kind in kinds for begin in (b":", b"-A ")] + [
            b"-A %b " % name for _, name in chains
        ]
        if any(region_of(content, marker, [*left_declared, *left]) is not None for marker in markers):
            return None
    return found


def region_of(content: bytes, beginning: bytes, within: list[Span]) -> Span | None:
    """The first line with this beginning, and those that follow it; None if there is none."""
    for start, end in within:
        first = content.find(b"\n" + beginning, start - 1, end) + 1
        if first:
            return first, _end_of_run(content, beginning, first, end)
    return None


def _end_of_run(content: bytes, beginning: bytes, start: int, end: int) -> int:
    """Where lines end that have this beginning, from a place on. If others stand between them, it is one of their ends."""
    low, high = start, end
    while high - low > _SHORT_BYTES:
        middle = content.find(b"\n", (low + high) // 2, high) + 1
        if not middle or middle == high:
            break
        if content.startswith(beginning, middle):
            low = middle
        else:
            high = middle
    while low < end and content.startswith(beginning, low):
        low = content.index(b"\n", low) + 1
    return low


def is_pure(content: bytes, beginning: bytes, region: Span, lines: int) -> bool:
    """True if all lines of a region, of which there are so many, have this beginning."""
    first, stop = region
    return content.count(b"\n" + beginning, first - 1, stop) == lines


def without(spans: list[Span], region: Span) -> list[Span]:
    """What is left of spans before and behind a region."""
    parts = [part for start, end in spans for part in ((start, min(end, region[0])), (max(start, region[1]), end))]
    return [(start, end) for start, end in parts if start < end]


def add_service_chains(found: Chains, content: bytes, regions: Mapping[bytes, Span], like: CutDump | None) -> bool:
    """Add all but the endpoints, which were read before. False unless chains of one kind follow each other without a line left."""
    known = [(span, name) for name, span in like.chains.items()] if like is not None else []
    for kind in sorted(SERVICE_KINDS, key=lambda kind: regions.get(kind, (0, 0))):
        region = regions.get(kind)
        alike = _alike(like, kind, content, region) if like is not None and region is not None else None
        if like is not None and alike is not None:
            found.alike[kind] = alike
            if not _add_merged(found, known, alike, content, kind):
                return False
            continue
        if region is not None and not _add_chains(found, content, region, kind):
            return False
        if like is not None and kind in like.regions:
            found.changed.update([name for _, name in known if name.startswith(kind)])
    if like is not None:
        found.changed.update(found.texts)
        new, found.texts = found.texts, dict(like.read_all())
        for name in found.changed:
            found.texts.pop(name, None)
        found.texts.update(new)
        found.leading = {
            **{name: links for name, links in like.leading.items() if name not in found.changed},
            **found.leading,
        }
        if found.endpoints is not None and found.differing:
            _send_again(found, found.endpoints)
    return True


def add_endpoint_chains(found: Chains, content: bytes, regions: Regions, like: CutDump | None) -> bool:
    """Add the chains of endpoints. False if they are not in order or lead on to others."""
    alike, region = None, regions.rules.get(ENDPOINT_KIND)
    if region is not None and like is not None and like.endpoints is not None:
        alike = _alike(like, ENDPOINT_KIND, content, region)
    if alike is not None:
        found.alike[ENDPOINT_KIND] = alike
    places = _places_of_new(content, alike) if alike is not None else None
    if like is None or like.endpoints is None or alike is None or places is None:
        found.endpoints = endpoint_forms(content, region, found.counted, regions.declared.get(ENDPOINT_KIND))
        if like is not None and like.endpoints is not None and found.endpoints is not None:
            found.differing = {*like.endpoints.names(), *found.endpoints.names()}
        return found.endpoints is not None
    found.places = places
    gone = _HASH.findall(b"".join([like.content[start:end] for (start, end), _ in alike.pairs]))
    come = b"".join([content[start:end] for _, (start, end) in alike.pairs])
    new = endpoint_forms(come, (0, len(come)))
    if new is None:
        return False
    found.endpoints, found.come = like.endpoints.changed(gone, new), new
    found.differing = {*gone, *new.names()}
    return True


def read_declarations(found: Chains, content: bytes, declared: Mapping[bytes, Span], like: CutDump | None) -> bool:
    """True if all lines of these regions declare chains of their kind. Of endpoints, it is enough that they differ from those
    in `like` where the rules do."""
    rules = found.alike.get(ENDPOINT_KIND)
    for kind, region in declared.items():
        if kind == ENDPOINT_KIND and found.endpoints is not None and found.endpoints.declared:
            continue
        alike = None
        if like is not None and rules is not None and kind == ENDPOINT_KIND and kind in like.declared:
            there, here = Declared(like.content, like.declared[kind]), Declared(content, region)
            alike = declared_alike(kind, there, here, rules)
        if alike is not None:
            found.alike[b":" + kind] = alike
        elif not declares_only(kind, content, region):
            return False
    return True


def _send_again(found: Chains, endpoints: EndpointForms) -> None:
    """Find out again where chains of another dump send packets to whose endpoints' chains are not the same."""
    for name, text in found.texts.items():
        if not found.differing.isdisjoint(text.endpoints):
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


def _add_merged(found: Chains, chains: list[tuple[Span, bytes]], alike: Alike, content: bytes, kind: bytes) -> bool:
    """Note where the chains of a region stand, and which are not the same as `chains` of the other dump. False like
    _add_chains."""
    spans, (there, here) = found.spans, (alike.old[0], alike.new[0])
    position = bisect_left(chains, ((there,),))
    for gone, come in (*alike.pairs, ((alike.old[1], alike.old[1]), (alike.new[1], alike.new[1]))):
        following = bisect_left(chains, ((gone[0],),), position)
        same = chains[position:following]
        count, shift = len(spans) + len(same), here - there
        spans.update([(name, (start + shift, end + shift)) for (start, end), name in same])
        # A chain must not stand in two places.
        if len(spans) < count:
            return False
        if come[0] < come[1] and not _add_chains(found, content, come, kind):
            return False
        position = bisect_left(chains, ((gone[1],),), following)
        found.changed.update([name for _, name in chains[following:position]])
        there, here = gone[1], come[1]
    return True


def _places_of_new(content: bytes, alike: Alike) -> dict[bytes, Span] | None:
    """Where chains stand that are not the same; None unless they are in order, and fit between those that are."""
    found: dict[bytes, Span] = {}
    region = alike.new
    for _, (start, stop) in alike.pairs:
        if start == stop:
            continue
        before = b""
        if start > region[0]:
            before = beginning_at(content, content.rfind(b"\n", 0, start - 1) + 1, start)
        while start < stop:
            beginning, end = chain_at(content, start, stop)
            if before >= beginning:
                return None
            found[beginning[len(b"-A ") : -1]] = (start, end)
            before, start = beginning, end
        if stop < region[1] and before >= beginning_at(content, stop, region[1]):
            return None
    return found


def _add_chains(chains: Chains, content: bytes, region: Span, kind: bytes) -> bool:
    """Note where each chain of a region stands, and read it. False unless chains of the kind follow each other without a line left."""
    (position, stop), endpoints = region, chains.endpoints
    if endpoints is None:
        for found in CHAIN.finditer(content, *region):
            if found.start() != position or found[1] in chains.spans or not found[1].startswith(kind):
                return False
            position = found.end()
            chains.spans[found[1]] = found.span()
        return position == stop
    spans, texts = chains.spans, chains.texts
    first, lines = position, 0
    for name, end, size, text in chains.forms.read_all(content, region, endpoints, keep_names=chains.keep_names):
        if name in spans or not name.startswith(kind):
            return False
        spans[name] = (position, end)
        texts[name] = text
        if text.links:
            chains.leading[name] = text.links
        position = end
        lines += size
        if end - first > _COUNTED_BYTES:
            chains.counted.append(((first, end), lines))
            first, lines = end, 0
    return position == stop
