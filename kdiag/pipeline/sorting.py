"""The Service ports of one family sorted into kinds: those of one kind get the same, each from its own endpoints.

See `kdiag.pipeline.twins` for what that is good for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kdiag.expect.outlook import Outlook, Outlooks
from kdiag.expect.places import Places
from kdiag.model.addresses import AddressSet, Family, address_text
from kdiag.model.objects import ObjectKey
from kdiag.parse.api_fields import ipv4_numbers
from kdiag.parse.crossings import with_node_ports
from kdiag.parse.iptables_forms import ChainText
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.service_words import Key, Sent
from kdiag.pipeline.first_node import FirstNode, is_same
from kdiag.pipeline.offers import Kind, Offer, Outdated, RulesForm, Shape, SortedOffers, offers_of
from kdiag.walk.distinctions import Distinctions

if TYPE_CHECKING:
    from kdiag.pipeline.offers import Cut

_LAST_PORT = 65535


class Sorter:
    """Sorts what is offered, by the rules that were cut up and by what rules and routes tell apart.

    `first` is what the first of several nodes has; it is filled if this is that node.
    """

    def __init__(self, cut: Cut, distinctions: Distinctions, local: AddressSet, first: FirstNode | None = None) -> None:
        self.cut, self.dispatch = cut, cut.dispatch
        self.distinctions = distinctions
        self.family = distinctions.family
        self.marked, self.text_of = cut.marked, cut.text_of
        self.like = cut.like if isinstance(cut, CutDump) else None
        self.shapes = first.shapes if first is not None else None
        self.changed = cut.changed if isinstance(cut, CutDump) else frozenset()
        found = cut.crossings
        self.met, self.refused = set(found.met), found.refused
        self.local_classes = distinctions.of_set(local)
        self._usual: dict[tuple[object, ...], RulesForm] = {}
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self.first = first
        self.known: Mapping[Key, tuple[Offer, Kind]] = {}
        self.differing: Collection[Key] = ()

    def sort(
        self,
        found: SortedOffers,
        outlooks: Outlooks,
        *,
        doubtful: Collection[ObjectKey],
        alone: Collection[ObjectKey],
        moving: Collection[ObjectKey],
        only: Collection[ObjectKey] | None,
    ) -> None:
        """Put each offer where it belongs. `doubtful` Services have none; of those that are `moving` none is `outdated`."""
        first, set_apart = self.first, (doubtful, alone)
        if first is not None and not first.serves(self.cut, self.distinctions, self.refused, outlooks, set_apart):
            first = None
        items: Iterable[Outlook] = outlooks if first is None else outlooks.others()
        if doubtful:
            items = [item for item in items if item.service_port.service not in doubtful]
        offers = [offer for item in items for offer in offers_of(item)]
        claimed, claims = [offer.key for offer in offers], found.claims
        if first is not None:
            offers += first.others
            claims.update(first.claims)  # Before others: to fill an empty one takes a fourth of the time.
        claims.update(claimed)
        found.stray = {key for key in self.dispatch if key not in claims}
        self._meet(offers, found.stray, first)
        if first is not None:
            offers += self._take_over(found, first)
        found.here = offers
        if only is not None:
            self._sort_few(found, offers, only)
            return
        taken_over = {kind: len(ofkind) for kind, ofkind in found.kinds.items()}
        contested = {key for key, times in claims.items() if times > 1}
        for offer in offers:
            service = offer.item.service_port.service
            usual = offer.key not in contested and service not in alone
            kind = self.kind(offer) if usual else None
            if kind is not None:
                if kind in found.kinds:
                    found.kinds[kind].append(offer)
                else:
                    found.kinds[kind] = [offer]
                continue
            outdated = self._outdated(offer) if usual and service not in moving else None
            if outdated is not None:
                found.outdated.setdefault(outdated[0], []).append(outdated[1])
            else:
                found.apart.append(offer)
        for unknown in found.outdated.keys() - found.kinds.keys():
            found.apart += [item.offer for item in found.outdated.pop(unknown)]
        for kind, ofkind in found.kinds.items():
            # The one with the fewest endpoints is walked: of those taken over it is in front.
            known = max(taken_over.get(kind, 0), 1)
            sizes = [offer.size for offer in (ofkind[0], *ofkind[known:])]
            least = sizes.index(min(sizes))
            place = least + known - 1 if least else 0
            ofkind[0], ofkind[place] = ofkind[place], ofkind[0]
        if self.first is not None and self.first.distinctions is self.distinctions:
            self.first.keep(found, outlooks, set_apart)

    def _sort_few(self, found: SortedOffers, offers: Sequence[Offer], only: Collection[ObjectKey]) -> None:
        """Judge the offers of a few Services by themselves, and leave out the others."""
        found.in_part = True
        if isinstance(self.cut, CutDump):
            mine = [offer.key for offer in offers if offer.item.service_port.service in only]
            self.met.update(self.cut.refusals_behind(mine))
        met = self.met
        found.apart = [offer for offer in offers if offer.item.service_port.service in only or offer.key in met]
        # One for each table or map: that nothing is in it would be a fault.
        shown = {line.form[0] for offer in found.apart for line in self.dispatch.get(offer.key, ())}
        examples: dict[object, Key] = {}
        for key, lines in self.dispatch.items():
            for line in lines:
                if line.form[0] not in examples and key in found.claims:
                    examples[line.form[0]] = key
        others = {key for place, key in examples.items() if place not in shown}
        found.apart += [offer for offer in offers if offer.key in others] if others else []

    def _take_over(self, found: SortedOffers, first: FirstNode) -> list[Offer]:
        """Put each offer that is the same on all nodes where it is on the first one; those that differ are left over."""
        if not isinstance(self.cut, CutDump):
            return []
        differing = first.differing_on(self.cut, self.distinctions, self.met)
        for kind, offers in first.alike.items():
            same = [offer for offer in offers if offer.key not in differing]
            if same:
                found.kinds[kind] = same
        found.taken_over = first.left_out
        self.known, self.differing = first.kinds, differing
        left_over = [first.kinds[key][0] for key in sorted(differing & first.kinds.keys())]
        return [offer for offer in left_over if offer.item.everywhere]

    def _meet(self, offers: Collection[Offer], unexplained: Iterable[Key], first: FirstNode | None) -> None:
        """Add the keys of these offers, and of those of the first node, that rules for something else may meet: those that some
        rule names that is no Service's, those at an address of which something is there that no Service explains, and those
        with the port of a NodePort, with that."""
        stray = {key[0] for key in unexplained if key[0]}
        node_ports = {key[1:] for key in self.dispatch if not key[0]}
        addresses, ports = self.distinctions.named, self.distinctions.named_ports
        self.met |= with_node_ports([offer.key for offer in offers], node_ports)
        self.met.update([offer.key for offer in offers if offer.key[0] in stray or offer.spot[0] in addresses])
        self.met.update([offer.key for offer in offers if offer.spot[0] is None and offer.spot[2] in ports])
        if first is not None:
            self.met |= with_node_ports(first.keys_with(node_ports), node_ports)
            self.met.update(first.keys_at(stray, addresses))
            self.met.update(first.node_ports(ports))

    def kind(self, offer: Offer) -> Kind | None:
        """What an offer has in common with its twins; None if it has to be judged by itself."""
        if self.known and offer.key not in self.differing:
            known = self.known.get(offer.key)
            if known is not None and is_same(known[0], offer):
                return known[1]
        if offer.key in self.met:
            return None
        item, first = offer.item, offer.targets[0]
        at, is_local = self._place_of(offer)
        if at is not None and len(offer.targets) > 1:
            return None
        alike = item.alike(first.kind, is_local=is_local)
        form = self._form(offer) if alike is not None else None
        if form is None or (self.refused and self._is_refused(item)):
            return None
        distinctions, protocol = self.distinctions, item.protocol
        cluster, near = self._classes_of(item.cluster, protocol), self._classes_of(item.local, protocol)
        parts = (first.kind, at, alike, form, protocol, (distinctions.of_port(first.port), cluster, near))
        return self._kinds.get(parts) or self._kinds.setdefault(parts, Kind(parts))

    def _place_of(self, offer: Offer) -> tuple[int | None, bool]:
        """The class of an offer's address, None for a NodePort's; and whether it is the node's own, as all of a class are or none."""
        address = offer.spot[0]
        if address is None:
            return None, True
        found = self.distinctions.of_address(address)
        return found, found in self.local_classes

    def _is_refused(self, item: Outlook) -> bool:
        """True if a rule refuses packets to one of the endpoints."""
        return any(
            (item.protocol, place) in self.refused for places in (item.cluster, item.local) for place in places.listed
        )

    def _outdated(self, offer: Offer) -> tuple[Kind, Outdated] | None:
        """The kind that an offer is of, but for its endpoints. None where that is not enough to tell what its rules do, or
        which of them do it: where Local policies make several lists of endpoints."""
        item, first = offer.item, offer.targets[0]
        if not isinstance(self.cut, CutDump) or item.wants is None or not item.cluster.at:
            return None
        wanted = item.wants[first.kind, self._place_of(offer)[1]]
        if wanted.tells_local:
            return None
        _, numbers = self._lines(offer)
        choosing: list[tuple[bytes, ChainText]] = []
        for name, text in self._behind(numbers):
            if text is None:
                return None
            if text.sent is None or text.sent.places:
                choosing.append((name, text))
        if len(choosing) != 1:
            return None
        chain, text = choosing[0]
        names = _named_places(self.cut, chain, text, item.protocol)
        if names is None or text.sent is None:
            return None
        asked = item.cluster.pairs
        if {address for address, _ in asked - names.keys()} & {address for address, _ in names.keys() - asked}:
            return None  # At another port: that is told in another way.
        addresses, ports = zip(*names, strict=True)
        rules = replace(item, cluster=Places(addresses, ports, b"\n".join(sorted(text.sent.places.split(b"\n")))))
        kind = self.kind(Offer(offer.key, offer.spot, rules, offer.targets, offer.keys))
        return (kind, Outdated(offer, rules, chain, names, wanted.to_cluster)) if kind is not None else None

    def _place(self, address: int, port: int) -> bytes:
        form = b"[%b]:%d" if self.family is Family.IPV6 else b"%b:%d"
        return form % (address_text(self.family, address), port)

    def _form(self, offer: Offer) -> RulesForm | None:
        """The form of an offer's rules; None if it is not a usual one. What is the same on the first node is not worked out
        again."""
        like = self.like
        known = self.shapes.get(offer.key) if self.shapes is not None else None
        if like is not None and known is not None and self._still_has(offer, known, like):
            return known.form
        found = self._usual_form(offer) or self._any_form(offer)
        if found is None:
            return None
        form, names = found
        if like is None and self.shapes is not None:
            self.shapes[offer.key] = Shape(form, offer.item.cluster, offer.item.local, names)
        return form

    def _usual_form(self, offer: Offer) -> tuple[RulesForm, tuple[bytes, ...]] | None:
        """The form of an offer's rules if they are as most are, and the names of the chains; None if they are not: one line, and
        one chain with the endpoints for Cluster policies, where none is Local."""
        item, key = offer.item, offer.key
        found = self.dispatch.get(key, ())
        if len(found) != 1 or len(found[0].links) != 1:
            return None
        (line,) = found
        text = self.text_of(line.links[0])
        if text is None or text.links or text.keys != (key,) or not text.form.regular:
            return None
        sent, wanted = text.sent, item.cluster.at
        if sent is None or not wanted or item.local.at or sent.places != wanted or sent.protocol != item.protocol:
            return None
        mine = offer.keys.index(key)
        asked = (line.form, text.kind, text.form.number, sent.form, mine)
        form = self._usual.get(asked)
        if form is None:
            chain = (text.kind, text.form.number, (), (mine,), (sent.form, True, False))
            form = self._usual[asked] = RulesForm(((line.form, (0,)),), (chain,))
        return form, line.links

    def _any_form(self, offer: Offer) -> tuple[RulesForm, tuple[bytes, ...]] | None:
        """The form of any rules, and the names of the chains; None if they are not of the usual form."""
        lines, numbers = self._lines(offer)
        chains = self._chains(offer, numbers)
        return (RulesForm(lines, chains), tuple(numbers)) if chains is not None else None

    def _still_has(self, offer: Offer, known: Shape, like: CutDump) -> bool:
        """True if the rules and the endpoints of an offer are those that it had where its shape was worked out."""
        item, key = offer.item, offer.key
        if item.cluster is not known.cluster or item.local is not known.local:
            return False
        lines, others = self.dispatch.get(key, ()), like.dispatch.get(key, ())
        if [(line.form, line.links) for line in lines] != [(line.form, line.links) for line in others]:
            return False
        return self.changed.isdisjoint(known.names)

    def _lines(self, offer: Offer) -> tuple[tuple[object, ...], dict[bytes, int]]:
        """The form of the lines for an offer's address, and the chains that they name, numbered."""
        found = self.dispatch.get(offer.key, ())
        numbers: dict[bytes, int] = {}
        lines = [(line.form, tuple([numbers.setdefault(name, len(numbers)) for name in line.links])) for line in found]
        return tuple(lines), numbers

    def _behind(self, numbers: dict[bytes, int]) -> Iterator[tuple[bytes, ChainText | None]]:
        """The chains that are reached from these, in the order in which they are named; each that is new gets a number."""
        queue = list(numbers)
        for name in queue:  # grows while it is read
            text = self.text_of(name)
            for link in text.links if text is not None else ():
                if link not in numbers:
                    numbers[link] = len(numbers)
                    queue.append(link)
            yield name, text

    def _chains(self, offer: Offer, numbers: dict[bytes, int]) -> tuple[object, ...] | None:
        """The chains that are reached, and whose endpoints are in each."""
        found: list[object] = []
        for _, text in self._behind(numbers):
            chain = _chain(offer, text, numbers) if text is not None else None
            if chain is None:
                return None
            found.append(chain)
        return tuple(found)

    def _classes_of(self, places: Places, protocol: bytes) -> object:
        """What rules and routes can tell of the endpoints: the classes of their addresses and ports; of their addresses, and
        of the port, if all have one; nothing without endpoints."""
        if not places.at:
            return ()
        distinctions = self.distinctions
        marked = self.marked.get(protocol) if self.marked else None
        if marked is not None and not marked.isdisjoint(places.listed):
            return frozenset(
                (
                    distinctions.of_address(address),
                    distinctions.of_port(port),
                    self._place(address, port) in marked,
                )
                for address, port in zip(places.addresses, places.ports, strict=True)
            )
        first = places.ports[0]
        if places.ports.count(first) == len(places.ports):
            return distinctions.of_all(places.addresses), distinctions.of_port(first)
        return frozenset(
            (distinctions.of_address(address), distinctions.of_port(port))
            for address, port in zip(places.addresses, places.ports, strict=True)
        )


def _chain(offer: Offer, text: ChainText, numbers: Mapping[bytes, int]) -> tuple[object, ...] | None:
    """What a chain is like, and whose endpoints are in it; None if it is not of the usual form."""
    endpoints = _endpoints(offer.item, text.sent) if text.sent is not None and text.form.regular else None
    if endpoints is None:
        return None
    try:
        mine = tuple([offer.keys.index(key) for key in text.keys])
    except ValueError:
        return None  # It is about an address that the port does not have.
    links = tuple([numbers[link] for link in text.links]) if text.links else ()
    return text.kind, text.form.number, links, mine, endpoints


def _endpoints(item: Outlook, sent: Sent) -> tuple[bytes, bool, bool] | None:
    """The form of the endpoints' chains, and whether they are those for Cluster policies, for Local ones. None if they are
    neither; of a chain without endpoints they need not be."""
    there, wanted, near = sent.places, item.cluster.at, item.local.at
    if not there:
        return (sent.form, False, False)
    if there not in (wanted, near):
        there = b"\n".join(sorted(there.split(b"\n")))
    if sent.protocol != item.protocol or there not in (wanted, near):
        return None
    return (sent.form, there == wanted, there == near)


def _named_places(cut: CutDump, chain: bytes, text: ChainText, protocol: bytes) -> dict[tuple[int, int], bytes] | None:
    """Address and port of a chain's endpoints, and the hash in the name of the chain of each; None if they are not of one
    form, or if one is listed twice."""
    names = text.form.listed(cut.endpoint_names(chain))
    if names is None or text.sent is None or text.sent.protocol != protocol:
        return None
    addresses, _, ports = zip(*[place.rpartition(":") for place in text.sent.places.decode().split("\n")], strict=True)
    try:
        numbers = ipv4_numbers("\n".join(addresses), len(addresses)) or [
            int(ip_address(address.strip("[]"))) for address in addresses
        ]
        found = dict(zip(zip(numbers, map(int, ports), strict=True), names, strict=True))
    except ValueError:
        return None
    alone = len(set(numbers)) == len(names)
    return found if alone and all(port <= _LAST_PORT for _, port in found) else None
