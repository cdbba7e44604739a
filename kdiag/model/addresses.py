"""IP addresses, networks and sets of addresses. Address text is parsed here, once."""

from __future__ import annotations

import enum
import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import Struct

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Family(enum.StrEnum):
    """An IP family, spelled as in the Kubernetes API."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    __hash__ = str.__hash__

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is _IPV4 else 128


_IPV4 = Family.IPV4


class Protocol(enum.StrEnum):
    """A transport protocol that a Service port can have."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    __hash__ = str.__hash__


def family_of(item: Address | Network) -> Family:
    """The family of an address or a network."""
    return _FAMILIES[type(item)]


_FAMILIES = {
    ipaddress.IPv4Address: Family.IPV4,
    ipaddress.IPv4Network: Family.IPV4,
    ipaddress.IPv6Address: Family.IPV6,
    ipaddress.IPv6Network: Family.IPV6,
}


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Address | None:
    """The address that `text` spells (IPv6 brackets and a zone are dropped), or None if it spells none."""
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    bare = bare.partition("%")[0]
    # Every node has the name of a host among its addresses, and an error takes ten times as long to make as this.
    if ":" not in bare and bare.count(".") != 3:
        return None
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def parse_network(text: str) -> Network | None:
    """The network that `text` spells (host bits are cleared; a bare address is a network of one), or None."""
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


class SocketAddress(Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """An address and a port, printed `10.0.0.1:80` or `[fd00::1]:80`.

    Everything is counted by these, and ipaddress hashes through text: hence a Struct, which does it once.
    """

    address: Address
    port: int

    def __str__(self) -> str:
        if self.address.version == 6:
            return f"[{self.address}]:{self.port}"
        return f"{self.address}:{self.port}"


@lru_cache(maxsize=1 << 18)
def socket_address(family: Family, number: int, port: int) -> SocketAddress:
    """An address by its number, and a port. The same object each time: what is compared a lot is then compared fast."""
    return SocketAddress(address_at(family, number), port)


UNSPECIFIED: dict[Family, Address] = {Family.IPV4: ipaddress.IPv4Address(0), Family.IPV6: ipaddress.IPv6Address(0)}
"""0.0.0.0 and ::, which no host has."""


def address_at(family: Family, number: int) -> Address:
    """An address by its number."""
    return ipaddress.IPv4Address(number) if family is _IPV4 else ipaddress.IPv6Address(number)


def address_text(family: Family, number: int) -> bytes:
    """An address by its number, as text."""
    if family is _IPV4:  # Many have the same first three octets.
        return _first_octets(number >> 8) + _OCTETS[number & 255]
    return str(ipaddress.IPv6Address(number)).encode()


@lru_cache(maxsize=4096)
def _first_octets(number: int) -> bytes:
    return b"%d.%d.%d." % (number >> 16, number >> 8 & 255, number & 255)


_OCTETS = [b"%d" % number for number in range(256)]


Range = tuple[int, int]


class AddressSet(Struct, frozen=True):
    """A set of addresses of one family: sorted, disjoint, not adjacent, inclusive integer ranges."""

    family: Family
    ranges: tuple[Range, ...]

    @staticmethod
    def everything(family: Family) -> AddressSet:
        """All addresses of a family."""
        return AddressSet(family, ((0, (1 << family.bits) - 1),))

    @staticmethod
    def nothing(family: Family) -> AddressSet:
        """The empty set."""
        return AddressSet(family, ())

    @staticmethod
    def of(family: Family, items: Iterable[Address | Network]) -> AddressSet:
        """The union of addresses and networks; those of the other family are left out."""
        ranges: list[Range] = []
        for item in items:
            if family_of(item) is not family:
                continue
            if isinstance(item, ipaddress.IPv4Network | ipaddress.IPv6Network):
                low = int(item.network_address)
                ranges.append((low, low + (1 << family.bits - item.prefixlen) - 1))
            else:
                low = int(item)
                ranges.append((low, low))
        return AddressSet(family, _merge(ranges))

    @staticmethod
    def of_numbers(family: Family, values: Iterable[int]) -> AddressSet:
        """The addresses that have these numbers."""
        return AddressSet(family, _merge([(value, value) for value in values]))

    @staticmethod
    def union(sets: Sequence[AddressSet]) -> AddressSet:
        """All addresses of some sets of one family; there must be at least one set."""
        if len(sets) == 1:
            return sets[0]
        return AddressSet(sets[0].family, _merge([pair for item in sets for pair in item.ranges]))

    @staticmethod
    def span(family: Family, first: int, last: int) -> AddressSet:
        """The addresses from `first` to `last`, both included."""
        return AddressSet(family, ((first, last),) if first <= last else ())

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, address: Address) -> bool:
        if family_of(address) is not self.family:
            return False
        value = int(address)
        index = bisect_right(self.ranges, (value, 1 << 129)) - 1
        return index >= 0 and self.ranges[index][0] <= value <= self.ranges[index][1]

    def __and__(self, other: AddressSet) -> AddressSet:
        left, right = self.ranges, other.ranges
        if len(left) == 1:
            return AddressSet(self.family, _within(right, *left[0]))
        if len(right) == 1:
            return AddressSet(self.family, _within(left, *right[0]))
        out: list[Range] = []
        i = j = 0
        while i < len(left) and j < len(right):
            low = max(left[i][0], right[j][0])
            high = min(left[i][1], right[j][1])
            if low <= high:
                out.append((low, high))
            if left[i][1] < right[j][1]:
                i += 1
            else:
                j += 1
        return AddressSet(self.family, tuple(out))

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet(self.family, _merge([*self.ranges, *other.ranges]))

    def __sub__(self, other: AddressSet) -> AddressSet:
        if len(other.ranges) == 1:
            first, last = other.ranges[0]
            top = (1 << self.family.bits) - 1
            below = _within(self.ranges, 0, first - 1)
            return AddressSet(self.family, below + _within(self.ranges, last + 1, top))
        return self & other.complement()

    def complement(self) -> AddressSet:
        """All addresses of the family that are not in the set."""
        out: list[Range] = []
        low = 0
        for first, last in self.ranges:
            if low < first:
                out.append((low, first - 1))
            low = last + 1
        top = (1 << self.family.bits) - 1
        if low <= top:
            out.append((low, top))
        return AddressSet(self.family, tuple(out))

    @property
    def size(self) -> int:
        """How many addresses the set holds."""
        return sum(last - first + 1 for first, last in self.ranges)

    def first(self) -> Address:
        """The lowest address; the set must not be empty."""
        return address_at(self.family, self.ranges[0][0])

    def networks(self) -> tuple[Network, ...]:
        """The set as the fewest CIDR blocks, in ascending order."""
        out: list[Network] = []
        for first, last in self.ranges:
            out.extend(ipaddress.summarize_address_range(address_at(self.family, first), address_at(self.family, last)))
        return tuple(out)

    def describe(self, limit: int = 4) -> str:
        """CIDR blocks in words, at most `limit` of them, `any` for the whole family."""
        if self == AddressSet.everything(self.family):
            return "any"
        blocks = self.networks()
        texts = [str(b.network_address) if b.num_addresses == 1 else str(b) for b in blocks[:limit]]
        more = f" and {len(blocks) - limit} more" if len(blocks) > limit else ""
        return ", ".join(texts) + more if texts else "none"


def _within(ranges: tuple[Range, ...], low: int, high: int) -> tuple[Range, ...]:
    """The parts of sorted ranges from `low` to `high`; none if `high` is less."""
    if low > high:
        return ()
    start = bisect_right(ranges, (low, low))
    if start and ranges[start - 1][1] >= low:
        start -= 1
    end = bisect_right(ranges, (high, 1 << 129), start)
    if start == end:
        return ()
    inside = ranges[start:end]
    first, last = inside[0], inside[-1]
    if first[0] >= low and last[1] <= high:
        return inside
    if len(inside) == 1:
        return ((max(first[0], low), min(last[1], high)),)
    return ((max(first[0], low), first[1]), *inside[1:-1], (last[0], min(last[1], high)))


def _merge(ranges: list[Range]) -> tuple[Range, ...]:
    out: list[Range] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            if last > out[-1][1]:
                out[-1] = (out[-1][0], last)
        else:
            out.append((first, last))
    return tuple(out)
