"""What was sorted on the first of several nodes: on a further one only what differs is sorted again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from kdiag.expect.outlook import Outlook
from kdiag.model.dataplane import ServicePortKey
from kdiag.parse.dispatch_lines import Key
from kdiag.parse.iptables_cut import CutDump
from kdiag.pipeline.offers import Kind, Offer, Shape, offers_of
from kdiag.walk.distinctions import Distinctions

if TYPE_CHECKING:
    from kdiag.pipeline.offers import Cut

_MOST_MOVED = 1 << 16
"""Where more addresses are told apart in another way than on the first node, all is sorted anew."""


class FirstNode(Struct):
    """What was sorted on the first of several nodes: the offers that are the same on all, and the kinds of all offers."""

    distinctions: Distinctions
    refused: Collection[object]
    offers: dict[ServicePortKey, tuple[Offer, ...]] = field(default_factory=dict)
    kinds: dict[Key, tuple[Offer, Kind]] = field(default_factory=dict)
    _same: dict[Kind, Kind] = field(default_factory=dict)
    """One object for kinds that are equal."""
    _by_chain: dict[bytes, list[Key]] = field(default_factory=dict)

    def offers_of(self, item: Outlook) -> Iterable[Offer]:
        """The offers of a Service port; of one that is the same on all nodes, the same objects."""
        if not item.everywhere:
            return offers_of(item)
        known = self.offers.get(item.service_port, ())
        if not known or known[0].item is not item:
            known = self.offers[item.service_port] = tuple(offers_of(item))
        return known

    def keep(self, offer: Offer, kind: Kind) -> None:
        """Keep the kind that an offer of this node is of."""
        self.kinds[offer.key] = (offer, self._same.setdefault(kind, kind))

    def known_on(
        self, cut: Cut, distinctions: Distinctions, refused: Collection[object], met: Collection[Key]
    ) -> Mapping[Key, tuple[Offer, Kind]]:
        """The offers of this node that have the same rules on another one, and that nothing tells apart there in another way.
        `met` are the keys that rules for something else may meet there."""
        here, there = distinctions, self.distinctions
        if not isinstance(cut, CutDump) or cut.like is None or cut.placed.like is None or refused != self.refused:
            return {}
        if (here.literals, here.ports) != (there.literals, there.ports):
            return {}
        moved = here.moved(there)
        if moved.size > _MOST_MOVED:
            return {}
        values = frozenset([value for low, high in moved.ranges for value in range(low, high + 1)])
        differing = {*met, *cut.placed.changed}
        for name in cut.changed:
            differing.update(self._keys_by_chain(cut.like).get(name, ()))
        return {
            key: known
            for key, known in self.kinds.items()
            if key not in differing
            and known[0].spot[0] not in values
            and values.isdisjoint(known[0].item.cluster.addresses)
        }

    def _keys_by_chain(self, cut: CutDump) -> Mapping[bytes, list[Key]]:
        """The keys of the offers that each chain of this node's dump serves."""
        if not self._by_chain:
            for key in self.kinds:
                shape = cut.shapes.get(key)
                for name in shape.names if isinstance(shape, Shape) else ():
                    self._by_chain.setdefault(name, []).append(key)
        return self._by_chain


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
