"""What was sorted on the first of several nodes: on a further one only what differs is sorted again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct, field

from kdiag.expect.dataplane import LeftOut
from kdiag.expect.outlook import Outlooks
from kdiag.model.objects import ObjectKey
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.service_words import Key
from kdiag.pipeline.offers import Kind, Offer, Shape, SortedOffers, where
from kdiag.walk.distinctions import Distinctions

if TYPE_CHECKING:
    from kdiag.pipeline.offers import Cut

_MOST_MOVED = 1 << 16
"""Where more addresses are told apart in another way than on the first node, all is sorted anew."""


class FirstNode(Struct):
    """What was sorted on the first of several nodes, and how.

    `alike` are the offers that are the same objects on all nodes (see `Outlooks.everywhere`), by kind; `others` are those
    that were of no kind.
    """

    distinctions: Distinctions
    refused: Collection[object]
    outlooks: Outlooks | None = None
    set_apart: tuple[Collection[ObjectKey], ...] = ()
    """The Services that were judged by themselves or not at all, whatever they are like."""
    shapes: dict[Key, Shape] = field(default_factory=dict)
    """What was found out about the rules of each offer that has usual ones."""
    kinds: dict[Key, tuple[Offer, Kind]] = field(default_factory=dict)
    alike: dict[Kind, list[Offer]] = field(default_factory=dict)
    others: list[Offer] = field(default_factory=list)
    claims: Counter[Key] = field(default_factory=Counter)
    """How many offers that are the same on all nodes have each key."""
    left_out: LeftOut = LeftOut()
    """Where those of some kind are offered."""
    _by_address: dict[bytes, list[Key]] = field(default_factory=dict)
    _by_port: dict[tuple[bytes, bytes], list[Key]] = field(default_factory=dict)
    _numbers: dict[int, bytes] = field(default_factory=dict)
    _node_ports: dict[int, list[Key]] = field(default_factory=dict)

    def keep(self, found: SortedOffers, outlooks: Outlooks, set_apart: tuple[Collection[ObjectKey], ...]) -> None:
        """Keep what was sorted on this node."""
        self.outlooks, self.set_apart = outlooks, set_apart
        for kind, offers in found.kinds.items():
            self.kinds.update([(offer.key, (offer, kind)) for offer in offers])
            alike = [offer for offer in offers if offer.item.everywhere]
            self.alike[kind] = sorted(alike, key=lambda offer: offer.size)
        others = [*found.apart, *(item.offer for item in found.out_of_date())]
        self.others = [offer for offer in others if offer.item.everywhere]
        everywhere = [offer for offers in self.alike.values() for offer in offers]
        self.claims.update([offer.key for offer in (*self.others, *everywhere)])
        self.left_out = where(everywhere)

    def serves(
        self,
        cut: Cut,
        distinctions: Distinctions,
        refused: Collection[object],
        outlooks: Outlooks,
        set_apart: tuple[Collection[ObjectKey], ...],
    ) -> bool:
        """True if what was sorted can be taken over on another node, but for what differs there."""
        return (
            isinstance(cut, CutDump)
            and cut.placed.like is not None
            and self.outlooks is not None
            and outlooks.everywhere is self.outlooks.everywhere
            and (refused, set_apart) == (self.refused, self.set_apart)
            and (distinctions.literals, distinctions.ports) == (self.distinctions.literals, self.distinctions.ports)
            and distinctions.moved(self.distinctions).size <= _MOST_MOVED
        )

    def keys_at(self, addresses: Collection[bytes], numbers: Collection[int]) -> Iterator[Key]:
        """The keys of the offers that are the same on all nodes, at these addresses, given as text or as numbers."""
        self._index()
        for address in {*addresses, *(self._numbers[number] for number in self._numbers.keys() & numbers)}:
            yield from self._by_address.get(address, ())

    def node_ports(self, ports: Collection[int]) -> Iterator[Key]:
        """The keys of those that are these NodePorts."""
        self._index()
        for port in self._node_ports.keys() & ports:
            yield from self._node_ports[port]

    def keys_with(self, ports: Iterable[tuple[bytes, bytes]]) -> Iterator[Key]:
        """The same by protocol and port, at any address."""
        self._index()
        for port in ports:
            yield from self._by_port.get(port, ())

    def _index(self) -> None:
        if self._by_address or self._node_ports:
            return
        for offers in self.alike.values():
            for offer in offers:
                key, (address, _, port) = offer.key, offer.spot
                if address is None:
                    self._node_ports.setdefault(port, []).append(key)
                    continue
                self._by_address.setdefault(key[0], []).append(key)
                self._by_port.setdefault(key[1:], []).append(key)
                self._numbers[address] = key[0]

    def differing_on(self, cut: CutDump, distinctions: Distinctions, met: Collection[Key]) -> set[Key]:
        """The keys of the offers of this node that have other rules on another one, or that something tells apart there in
        another way. `met` are the keys that rules for something else may meet there."""
        moved = distinctions.moved(self.distinctions)
        values = frozenset([value for low, high in moved.ranges for value in range(low, high + 1)])
        differing = {*met, *cut.placed.changed}
        differing.update([key for key, shape in self.shapes.items() if not cut.changed.isdisjoint(shape.names)])
        differing.update(
            [
                key
                for key, (offer, _) in self.kinds.items()
                if offer.spot[0] in values or not values.isdisjoint(offer.item.cluster.addresses)
            ]
        )
        return differing


def is_same(one: Offer, other: Offer) -> bool:
    """True if two nodes offer the same at an address, or as a NodePort: all that a kind hangs on but rules and addresses."""
    mine, others = one.item, other.item
    return one is other or (
        mine.cluster is others.cluster
        and mine.local is others.local
        and mine.wants is others.wants
        and mine.affinity_s == others.affinity_s
        and mine.service_port == others.service_port
        and one.targets[0].kind is other.targets[0].kind
        and len(one.targets) == len(other.targets)
        and one.keys == other.keys
    )
