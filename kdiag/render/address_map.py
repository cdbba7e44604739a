"""The map of a cluster's address ranges: what lies where, in what, and what meets that should not. Layout alone.

Ranges of one cluster differ in size by a factor of a million, so no one scale shows them all. The map has two: each
family's address space with the regions marked on it, and each region again over the full width, to scale. CIDR ranges
cannot cut into each other: of two that share addresses one holds the other. Whether that is as it should be follows from
what they are for.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from kdiag.model.addresses import Address, Family, Network, family_of
from kdiag.model.overview import AddressRange, AddressRanges, RangeKind

FOLDED_FROM = 7
"""Ranges of one kind in one region from which on they share a row."""

_DENSE = 8
"""A region may be that many times as large as the ranges in it."""

_UNLIKE = 16
"""Neighbours in one region may differ in size by that factor."""

_SMALL = 256
"""Addresses up to which a region may be empty all the same: so far nodes of one rack may lie apart."""

_WIDEST = {Family.IPV4: 8, Family.IPV6: 16}
"""Prefix length of the largest space that regions are shown side by side in: beyond it their distance tells nothing."""

_NESTS = {
    RangeKind.SERVICE: frozenset({RangeKind.SERVICE}),
    RangeKind.POD: frozenset({RangeKind.POD, RangeKind.CNI_POOL, RangeKind.NODE_POD}),
    RangeKind.CNI_POOL: frozenset({RangeKind.POD, RangeKind.CNI_POOL, RangeKind.NODE_POD}),
    RangeKind.NODE_POD: frozenset({RangeKind.POD, RangeKind.CNI_POOL}),
    RangeKind.NODE_NETWORK: frozenset({RangeKind.NODE_NETWORK, RangeKind.HOST_NETWORK}),
    RangeKind.HOST_NETWORK: frozenset({RangeKind.NODE_NETWORK, RangeKind.HOST_NETWORK, RangeKind.RESERVED}),
    RangeKind.RESERVED: frozenset({RangeKind.HOST_NETWORK, RangeKind.RESERVED}),
}
"""Which kinds may share addresses with which."""

_POD_KINDS = frozenset({RangeKind.POD, RangeKind.CNI_POOL, RangeKind.NODE_POD})
_HOST_KINDS = frozenset({RangeKind.NODE_NETWORK, RangeKind.HOST_NETWORK})


class Relation(enum.Enum):
    """How a range stands to the others of its region."""

    APART = "apart"
    NESTED = "nested"
    OVERLAPS = "overlaps"


class MapRow(Struct, frozen=True, kw_only=True):
    """One line of the map: a range, or several of one kind that share a line because they are many.

    `spans` are where it lies in its region, as shares of the region's width (0 to 1), ascending. `inside` is the smallest
    range that holds it, `overlaps` are those that it meets and should not; both in words. `depth` counts the ranges
    around it.
    """

    kind: RangeKind
    ranges: tuple[AddressRange, ...]
    spans: tuple[tuple[float, float], ...]
    relation: Relation
    depth: int = 0
    inside: str | None = None
    overlaps: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """How much of it is in use (0 to 1), None where that is not known. Of several ranges, of the fullest one."""
        shares = [share for item in self.ranges if (share := used_share(item)) is not None]
        return max(shares) if shares else None


class MapRegion(Struct, frozen=True, kw_only=True):
    """A part of the address space that is drawn to one scale: `first` to `last`. `mark` is a letter."""

    mark: str
    first: Address
    last: Address
    rows: tuple[MapRow, ...]

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return int(self.last) - int(self.first) + 1


class MapSpace(Struct, frozen=True, kw_only=True):
    """A network that holds several regions, and where they are in it, as shares of its width (0 to 1)."""

    network: Network
    places: tuple[tuple[str, float, float], ...]


class MapFamily(Struct, frozen=True, kw_only=True):
    """All regions of one family by address, and the spaces that hold more than one of them."""

    family: Family
    spaces: tuple[MapSpace, ...]
    regions: tuple[MapRegion, ...]


def address_map(found: AddressRanges) -> tuple[MapFamily, ...]:
    """The map, family by family; a family without ranges is left out."""
    families = []
    for family in Family:
        ranges = [item for item in found.ranges if family_of(item.network) is family]
        if ranges:
            groups = _regions(ranges)
            regions = tuple(_region(_mark(index), group, found) for index, group in enumerate(groups))
            families.append(MapFamily(family=family, spaces=_spaces(family, regions), regions=regions))
    return tuple(families)


def used_share(item: AddressRange) -> float | None:
    """The share of a range that is in use (0 to 1); None where it is not known."""
    if item.used is None or not item.usable:
        return None
    return min(item.used / item.usable, 1.0)


def share_words(share: float) -> str:
    """`12%`; what is not nothing is not told as nothing, nor what is not full as full."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def number_words(number: int) -> str:
    """`1,048,576`; of IPv6, where that says nothing any more, `2^64`."""
    if number >= 1 << 33:
        exponent = number.bit_length() - 1
        return f"2^{exponent}" if number == 1 << exponent else f"about 2^{(number - 1).bit_length()}"
    return f"{number:,}"


def range_words(item: AddressRange) -> str:
    """`pod range 10.244.0.0/16`, `docker0 on node01 10.244.64.0/18`."""
    return f"{kind_words(item)} {item.network}"


def kind_words(item: AddressRange) -> str:
    """What the range is and whose: `pod range of node01`, `docker0 on node01`, `Service range`."""
    match item.kind:
        case RangeKind.NODE_POD:
            return f"pod range of {item.label}" if item.label else str(item.kind)
        case RangeKind.HOST_NETWORK:
            return item.label or str(item.kind)
        case _:
            return f"{item.kind} ({item.label})" if item.label else str(item.kind)


def row_words(row: MapRow) -> str:
    """What a row shows: `pod range 10.244.0.0/16`, `pod ranges of 40 nodes, 10.244.0.0/24 to 10.244.39.0/24`."""
    if len(row.ranges) == 1:
        return range_words(row.ranges[0])
    plural = {RangeKind.NODE_POD: f"pod ranges of {len({item.label for item in row.ranges})} nodes"}
    what = plural.get(row.kind, f"{len(row.ranges)} ranges: {row.kind}")
    return f"{what}, {row.ranges[0].network} to {row.ranges[-1].network}"


def usage_words(row: MapRow) -> str:
    """`<0.1% used: 13 of 1,048,574`, `the fullest is 4% used`; empty where it is not known."""
    share = row.share
    if share is None:
        return ""
    verb = "given to nodes" if row.kind is not RangeKind.NODE_NETWORK and row.ranges[0].used_by == "nodes" else "used"
    if len(row.ranges) > 1:
        return f"the fullest is {share_words(share)} {verb}"
    item = row.ranges[0]
    return f"{share_words(share)} {verb}: {number_words(item.used or 0)} of {number_words(item.usable or 0)}"


def note_words(row: MapRow) -> str:
    """`OVERLAPS pod range 10.244.0.0/16`, `in pod range 10.244.0.0/16`, or nothing."""
    if row.overlaps:
        return f"OVERLAPS {', '.join(row.overlaps)}"
    return f"in {row.inside}" if row.inside else ""


def _mark(index: int) -> str:
    """A, B, …, Z, AA, AB, …"""
    text = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        text = chr(ord("A") + letter) + text
    return text


def _ends(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def _regions(ranges: Sequence[AddressRange]) -> list[list[AddressRange]]:
    """Ranges in groups that one scale can show: those that share addresses, and close neighbours of about their size."""
    groups: list[list[AddressRange]] = []
    covered = largest = 0
    end = -1
    for item in sorted(ranges, key=lambda item: (_ends(item.network)[0], item.network.prefixlen)):
        first, last = _ends(item.network)
        own = last - first + 1
        if groups and first <= end:
            groups[-1].append(item)
            continue
        if groups:
            span = last - _ends(groups[-1][0].network)[0] + 1
            alike = largest <= _UNLIKE * own and own <= _UNLIKE * largest
            if alike and span <= max(_DENSE * (covered + own), _SMALL):
                groups[-1].append(item)
                covered, largest, end = covered + own, max(largest, own), last
                continue
        groups.append([item])
        covered, largest, end = own, own, last
    return groups


def _region(mark: str, group: Sequence[AddressRange], found: AddressRanges) -> MapRegion:
    first = min(_ends(item.network)[0] for item in group)
    last = max(_ends(item.network)[1] for item in group)
    size = last - first + 1
    rows: list[MapRow] = []
    for members in _folded([_place(item, holders, found) for item, holders in _holders(group)]):
        spans = [
            ((start - first) / size, (stop + 1 - first) / size)
            for start, stop in (_ends(member.item.network) for member in members)
        ]
        place = members[0]
        rows.append(
            MapRow(
                kind=place.item.kind,
                ranges=tuple(member.item for member in members),
                spans=tuple(_joined(sorted(spans))),
                relation=Relation.OVERLAPS if place.overlaps else Relation.NESTED if place.around else Relation.APART,
                depth=len(place.around),
                inside=range_words(place.around[-1]) if place.around else None,
                overlaps=tuple(range_words(other) for other in place.overlaps),
            )
        )
    address = ipaddress.IPv4Address if group[0].network.version == 4 else ipaddress.IPv6Address
    return MapRegion(mark=mark, first=address(first), last=address(last), rows=tuple(rows))


class _Place(Struct, frozen=True, kw_only=True):
    """A range with those that hold it, the largest first: `around` may, `overlaps` must not."""

    item: AddressRange
    around: tuple[AddressRange, ...]
    overlaps: tuple[AddressRange, ...]


def _place(item: AddressRange, holders: Sequence[AddressRange], found: AddressRanges) -> _Place:
    may = [_may_share(item, other, found) for other in holders]
    return _Place(
        item=item,
        around=tuple(other for other, fine in zip(holders, may, strict=True) if fine),
        overlaps=tuple(other for other, fine in zip(holders, may, strict=True) if not fine),
    )


def _holders(group: Sequence[AddressRange]) -> Iterator[tuple[AddressRange, tuple[AddressRange, ...]]]:
    """Each range with those that hold it, the largest first; of two that are the same, the first holds the second."""
    open_ones: list[AddressRange] = []
    for item in group:
        first, _ = _ends(item.network)
        while open_ones and _ends(open_ones[-1].network)[1] < first:
            open_ones.pop()
        yield item, tuple(open_ones)
        open_ones.append(item)


def _folded(places: Sequence[_Place]) -> list[list[_Place]]:
    """Ranges one by one, but many of one kind in one place together; those that overlap something keep their own row."""
    buckets: dict[tuple[object, ...], list[_Place]] = {}
    for index, place in enumerate(places):
        alone = index if place.overlaps else None
        buckets.setdefault((place.item.kind, tuple(id(other) for other in place.around), alone), []).append(place)
    rows = [
        members_of_row
        for members in buckets.values()
        for members_of_row in ([members] if len(members) >= FOLDED_FROM else [[member] for member in members])
    ]
    position = {id(place): index for index, place in enumerate(places)}
    return sorted(rows, key=lambda members: position[id(members[0])])


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that touch as one: a thousand neighbours are drawn as one block."""
    out: list[tuple[float, float]] = []
    for start, stop in spans:
        if out and start <= out[-1][1] + 1e-12:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def _may_share(one: AddressRange, other: AddressRange, found: AddressRanges) -> bool:
    if other.kind in _NESTS[one.kind]:
        return True
    if one.kind is other.kind is RangeKind.NODE_POD:
        return one.label == other.label
    kinds = {one.kind, other.kind}
    return found.pods_in_node_network and bool(kinds & _POD_KINDS) and bool(kinds & _HOST_KINDS)


def _spaces(family: Family, regions: Sequence[MapRegion]) -> tuple[MapSpace, ...]:
    """Networks of at most /8 (IPv6 /16) that hold two regions or more, each as small as possible."""
    widest = _WIDEST[family]
    groups: dict[int, list[MapRegion]] = {}
    for region in regions:
        groups.setdefault(int(region.first) >> (family.bits - widest), []).append(region)
    spaces = []
    for members in groups.values():
        if len(members) < 2:
            continue
        first, last = int(members[0].first), int(members[-1].last)
        bits = max((first ^ last).bit_length(), 1)
        start = first >> bits << bits
        size = 1 << bits
        address = ipaddress.IPv4Address if family is Family.IPV4 else ipaddress.IPv6Address
        places = tuple(
            (member.mark, (int(member.first) - start) / size, (int(member.last) + 1 - start) / size)
            for member in members
        )
        spaces.append(MapSpace(network=ipaddress.ip_network(f"{address(start)}/{family.bits - bits}"), places=places))
    return tuple(spaces)
