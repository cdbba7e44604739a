"""Which addresses and ports the rules and the network of a node can tell apart.

Two addresses of one class lie in the same sets everywhere: no match names one and not the other, and the same interface
leads to both. So what happens to packets to one of them happens, with the address exchanged, to packets to the other.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from kdiag.model.addresses import AddressSet, Family, Network, parse_address
from kdiag.model.rules import IpSet
from kdiag.parse.iptables_rule import mask_length
from kdiag.parse.service_words import COMMENT
from kdiag.walk.address_matches import ipset_members
from kdiag.walk.network import NodeNetwork

_V4 = rb"(?<![0-9.])\d{1,3}(?:\.\d{1,3}){3}"
_V6 = rb"(?<![0-9a-fA-F:.])[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,7}(?:\.\d{1,3}){0,3}"
_LITERAL = {
    family: rb"(%b)(?:-(%b)|/([0-9a-fA-F.:]+))?" % (address, address)
    for family, address in ((Family.IPV4, _V4), (Family.IPV6, _V6))
}
# `80`, `80:90`, `80-90`, `80:`, `:90`.
_PORTS = re.compile(rb"(?<![0-9A-Za-z.])(\d{1,5})?([:-])?(?<=[0-9:-])(\d{1,5})?(?![0-9A-Za-z.])")
# Where a rule asks for a protocol, unless it names the ports for which it does: packets to others it lets by.
_PROTOCOL = re.compile(rb" (?:-p (?!(?:ipv6-)?icmp )(?![^\n]*[^!] --dports? )|--[a-z]*proto )")
_LAST_PORT = 65535
_MASK_DIGITS = 3


Numbers = dict[tuple[int, str | None], int]
"""A number for each class: by the sets that its members lie in, a bit for each, and the interface that leads to them."""

_UNNAMED = (0, None)


class Distinctions:
    """Classes of addresses and ports of one family on one node.

    `texts` are all rules that packets may meet, but for what is a Service's own in them. `sets` are further addresses
    that matter. With `apart`, rules may compare in ways that a text does not show (nftables' `<`, maps): then every
    address that is named parts those before it from those behind. `numbers` are given to classes: of two nodes that share
    them, and have as many sets and the same `literals`, classes of one number lie in the same of these sets, and the same
    interface leads to both.
    """

    def __init__(
        self,
        network: NodeNetwork,
        texts: Iterable[bytes],
        sets: Iterable[AddressSet],
        ipsets: Iterable[IpSet],
        *,
        apart: bool,
        numbers: Numbers | None = None,
    ) -> None:
        self.family = network.family
        # The members of a set that are not plain addresses (`10.96.0.1,tcp:80`) count one by one.
        read = [(item, ipset_members(item, self.family)) for item in ipsets]
        mixed = ["\n".join(item.members).encode() for item, found in read if found is None]
        texts = (*texts, *mixed)
        clients = [item.addresses for item in (*network.pod_clients, *network.external_clients)]
        told = [network.local, network.own, network.pods, *clients, *sets]
        told += [found for _, found in read if found is not None]
        self.literals = tuple(sorted({pair for text in texts for pair in _literals(text, self.family)}))
        """The first and the last of the addresses that a rule names at once."""
        self.named = frozenset(low for low, high in self.literals if low == high)
        """The single addresses that rules name."""
        top = (1 << self.family.bits) - 1
        for low, high in self.literals:
            told.append(AddressSet.span(self.family, low, high))
            if apart:
                told += [AddressSet.span(self.family, low, top), AddressSet.span(self.family, high, top)]
        known: Numbers = {} if numbers is None else numbers
        self._starts, self._classes = _stretches([item.ranges for item in told], _ways(network), known)
        self._alone = {number: frozenset((number,)) for number in self._classes}
        plain = [COMMENT.sub(b"", text) for text in texts]
        named = [pair for text in plain for pair in _port_literals(text)]
        named += [pair for item, _ in read for member in item.members for pair in _port_literals(member.encode())]
        self.named_ports = frozenset(low for low, high in named if low == high)
        """The single numbers in rules that may be ports."""
        if apart:
            named += [(low, _LAST_PORT) for low, _ in named] + [(high, _LAST_PORT) for _, high in named]
        numbers_of_ports: Numbers = {}
        ranges = [((low, high),) for low, high in sorted({*named})]
        self._ports, self._port_classes = _stretches(ranges, [], numbers_of_ports)
        asked = apart or any(_PROTOCOL.search(text) for text in plain)
        self.unasked = None if asked else numbers_of_ports.get(_UNNAMED)
        """The class of the ports that no rule names; None if rules may ask for a protocol there."""

    def of_address(self, address: int) -> int:
        """The class of an address."""
        return self._classes[bisect_right(self._starts, address) - 1]

    def moved(self, other: Distinctions) -> AddressSet:
        """The addresses that are of another class than they are for `other`, which has the same `numbers`."""
        found: list[tuple[int, int]] = []
        borders = sorted({*self._starts, *other._starts, 1 << self.family.bits})
        for low, behind in pairwise(borders):
            if self.of_address(low) != other.of_address(low):
                found.append((low, behind - 1))
        return AddressSet(self.family, tuple(found))

    def of_all(self, addresses: Sequence[int]) -> frozenset[int]:
        """The classes of some addresses."""
        low = bisect_right(self._starts, min(addresses))
        if bisect_right(self._starts, max(addresses)) == low:
            return self._alone[self._classes[low - 1]]
        return frozenset([self._classes[bisect_right(self._starts, address) - 1] for address in addresses])

    def of_set(self, addresses: AddressSet) -> frozenset[int]:
        """The classes that some address of a set is of."""
        found: set[int] = set()
        for low, high in addresses.ranges:
            first = bisect_right(self._starts, low) - 1
            found.update(self._classes[first : bisect_right(self._starts, high)])
        return frozenset(found)

    def of_port(self, port: int) -> int:
        """The class of a port."""
        return self._port_classes[bisect_right(self._ports, port) - 1]

    @property
    def ports(self) -> tuple[tuple[int, int], ...]:
        """Where stretches of ports of one class begin, and the classes."""
        return tuple(zip(self._ports, self._port_classes, strict=True))


def _literals(text: bytes, family: Family) -> Iterable[tuple[int, int]]:
    for first, last, mask in set(re.findall(_LITERAL[family], text)):
        address = parse_address(first.decode())
        if address is None:
            continue
        low = high = int(address)
        if last:
            other = parse_address(last.decode())
            high = low if other is None else int(other)
        elif mask:
            bits = _mask_bits(mask.decode(), family)
            if bits is None:
                # A mask with holes may tell any two addresses apart that differ: no class is safe.
                yield from ((bit, bit) for bit in (low, high))
                continue
            size = (1 << (family.bits - bits)) - 1
            low, high = low & ~size, low | size
        yield min(low, high), max(low, high)


def _mask_bits(text: str, family: Family) -> int | None:
    if not text.isdigit():
        return mask_length(text)
    return min(int(text), family.bits) if len(text) <= _MASK_DIGITS else family.bits


def _port_literals(text: bytes) -> Iterable[tuple[int, int]]:
    """Every number that may be a port, and every range of such."""
    for first, between, last in set(_PORTS.findall(text)):
        low = int(first or 0)
        high = int(last or _LAST_PORT) if between else low
        if (first or last) and low <= high <= _LAST_PORT:
            yield low, high
        for single in (first, last):
            if single and int(single) <= _LAST_PORT:
                yield int(single), int(single)


def _stretches(
    sets: Iterable[Sequence[tuple[int, int]]], ways: Sequence[tuple[int, str | None]], known: Numbers
) -> tuple[list[int], list[int]]:
    """Where stretches of numbers begin that lie in the same sets and have the same way, and a class for each."""
    toggles: dict[int, int] = {0: 0}
    for number, ranges in enumerate(sets):
        for low, high in ranges:
            toggles[low] = toggles.get(low, 0) ^ 1 << number
            toggles[high + 1] = toggles.get(high + 1, 0) ^ 1 << number
    starts: list[int] = []
    classes: list[int] = []
    inside, way, next_way = 0, None, 0
    for border in sorted({*toggles, *(low for low, _ in ways)}):
        inside ^= toggles.get(border, 0)
        while next_way < len(ways) and ways[next_way][0] <= border:
            way = ways[next_way][1]
            next_way += 1
        number = known.setdefault((inside, way), len(known))
        if not classes or classes[-1] != number:
            starts.append(border)
            classes.append(number)
    return starts, classes


def _ways(network: NodeNetwork) -> list[tuple[int, str | None]]:
    """From which address on which interface leads there, by the most specific route."""
    if not network.routes:
        return []
    spans: dict[tuple[int, int], str | None] = {}
    for route in network.routes:
        spans.setdefault(_span(route.network), route.interface)
    ways: list[tuple[int, str | None]] = []
    around: list[tuple[int, str | None]] = []
    # Networks are nested or apart: the wider one of two that begin together comes first.
    for (low, high), interface in sorted(spans.items(), key=lambda item: (item[0][0], -item[0][1])):
        while around and around[-1][0] < low:
            end, _ = around.pop()
            ways.append((end + 1, around[-1][1] if around else None))
        ways.append((low, interface))
        around.append((high, interface))
    while around:
        end, _ = around.pop()
        ways.append((end + 1, around[-1][1] if around else None))
    return ways


def _span(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)
