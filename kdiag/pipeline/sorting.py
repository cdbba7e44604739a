"""The Service ports of one family sorted into kinds: those of one kind get the same, each from its own endpoints.

See `kdiag.pipeline.twins` for what that is good for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kdiag.expect.dataplane import spot_of
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.outlook import Outlook, Places
from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import FrontendKind
from kdiag.model.objects import ObjectKey
from kdiag.parse.dispatch_lines import Key
from kdiag.parse.iptables_cut import CutDump
from kdiag.parse.iptables_forms import ChainText
from kdiag.pipeline.offers import Kind, Offer, Outdated, Shape, SortedOffers
from kdiag.walk.distinctions import Distinctions

if TYPE_CHECKING:
    from kdiag.pipeline.offers import Cut

_LAST_PORT = 65535


class Sorter:
    """Sorts what is offered, by the rules that were cut up and by what rules and routes tell apart."""

    def __init__(self, cut: Cut, distinctions: Distinctions, local: AddressSet) -> None:
        self.cut = cut
        self.local = local
        self.distinctions = distinctions
        self.family = distinctions.family
        self.changed = cut.changed if isinstance(cut, CutDump) else frozenset()
        found = cut.endpoints.found if cut.endpoints is not None else {}
        self.places = {
            protocol: [
                (form, places)
                for (form, spoken), places in sorted(found.items(), key=lambda item: -len(item[1]))
                if spoken == protocol
            ]
            for protocol in (b"tcp", b"udp", b"sctp")
        }
        self.met, self.refused = self._crossings()

    def _crossings(self) -> tuple[set[Key], set[tuple[bytes, bytes]]]:
        """Where packets to one Service may meet rules for the address of another: the keys of these rules, and the
        endpoints (protocol and place) at which that happens.

        Two rules may ask for a packet to the node itself: one by address and port, one for a NodePort. And what was sent
        to an endpoint goes on to the filter table, where addresses without endpoints are refused.
        """
        dispatch = self.cut.dispatch
        met = {key for key in dispatch if key[0] and (b"", *key[1:]) in dispatch}
        met |= {(b"", *key[1:]) for key in met}
        filters = set(self.cut.refusing)
        if not filters or self.cut.endpoints is None:
            return met, set()
        if self.cut.endpoints.odd:
            # Where these send packets to is not read here.
            return met | filters, set()
        opening, closing = (b"[", b"]:") if self.family is Family.IPV6 else (b"", b":")
        refused: set[tuple[bytes, bytes]] = set()
        by_address: dict[bytes, list[Key]] = {}
        if self.cut.addresses:
            # There an address alone may decide, whatever the port.
            for key in filters:
                by_address.setdefault(opening + key[0] + closing[:-1], []).append(key)
        for protocol, forms in self.places.items():
            mine = [key for key in filters if key[1] == protocol]
            by_place = {opening + key[0] + closing + key[2]: key for key in mine if key[0]}
            by_port = {b":" + key[2]: key for key in mine if not key[0]}
            sizes = {len(port) for port in by_port}
            for _, places in forms:
                listed = places.values()
                asked: set[bytes] = set()
                if not by_address:
                    asked |= by_place.keys() & set(listed)
                    met |= {by_place[place] for place in asked}
                # Looked for all at once: there are few ports, and hardly ever one that is asked for.
                for size in sizes:
                    ports = by_port.keys() & {place[-size:] for place in listed}
                    if ports:
                        met |= {by_port[port] for port in ports}
                        asked |= {place for place in listed if place[-size:] in ports}
                if by_address:
                    known = by_address.keys() & {place[: place.rindex(b":")] for place in listed}
                    if known:
                        met.update(key for address in known for key in by_address[address])
                        asked |= {place for place in listed if place[: place.rindex(b":")] in known}
                refused |= {(protocol, place) for place in asked}
        return met, refused

    def sort(
        self,
        sorted_offers: SortedOffers,
        items: Iterable[Outlook],
        *,
        alone: Collection[ObjectKey],
        moving: Collection[ObjectKey],
        only: Collection[ObjectKey] | None,
    ) -> None:
        """Put each offer where it belongs. Of Services that are `moving` none is `outdated`."""
        offers = [offer for item in items for offer in _offers(item)]
        claims = Counter([offer.key for offer in offers])
        for offer in offers:
            node_port = (b"", *offer.key[1:])
            if offer.key[0] and node_port in self.cut.dispatch:
                self.met |= {offer.key, node_port}
        self.met |= self._named(offers, claims)
        if only is not None and isinstance(self.cut, CutDump):
            mine = [offer.key for offer in offers if offer.item.service_port.service in only]
            self.met.update(self.cut.refusals_behind(mine))
        shown: set[object] = set()
        for offer in offers:
            service = offer.item.service_port.service
            if only is not None:
                asked = service in only or offer.key in self.met
                # One for each table or map: that nothing is in it would be a fault.
                found = {line.form[0] for line in self.cut.dispatch.get(offer.key, ())}
                asked = asked or not found <= shown
                if asked:
                    shown |= found
                (sorted_offers.apart if asked else sorted_offers.left_out).append(offer)
                continue
            usual = service not in alone and claims[offer.key] == 1
            kind = self.kind(offer) if usual else None
            outdated = self._outdated(offer) if usual and kind is None and service not in moving else None
            if kind is not None:
                sorted_offers.kinds.setdefault(kind, []).append(offer)
            elif outdated is not None:
                sorted_offers.outdated.setdefault(outdated[0], []).append(outdated[1])
            else:
                sorted_offers.apart.append(offer)
        for unknown in sorted_offers.outdated.keys() - sorted_offers.kinds.keys():
            sorted_offers.apart += [item.offer for item in sorted_offers.outdated.pop(unknown)]
        for ofkind in sorted_offers.kinds.values():
            # The one with the fewest endpoints is walked.
            least = min(range(len(ofkind)), key=lambda index: len(ofkind[index].item.cluster.at))
            ofkind[0], ofkind[least] = ofkind[least], ofkind[0]

    def _named(self, offers: Iterable[Offer], claims: Mapping[Key, int]) -> set[Key]:
        """The keys that some rule names that is no Service's, and those with an address of which something is there that no
        Service explains."""
        stray = {key[0] for key in self.cut.dispatch if key not in claims}
        addresses, ports = self.distinctions.named, self.distinctions.named_ports
        found = set()
        for offer in offers:
            first = offer.targets[0]
            if offer.key[0]:
                named = offer.key[0] in stray or int(first.address) in addresses
            else:
                named = first.port in ports
            if named:
                found.add(offer.key)
        return found

    def kind(self, offer: Offer) -> Kind | None:
        """What an offer has in common with its twins; None if it has to be judged by itself."""
        item, key = offer.item, offer.key
        first = offer.targets[0]
        kind = first.kind
        if kind is not FrontendKind.NODE_PORT and len(offer.targets) > 1:
            return None
        value = int(first.address)
        is_local = kind is FrontendKind.NODE_PORT or self._is_local(value)
        alike = item.alike(kind, is_local=is_local)
        if alike is None:
            return None
        if key in self.met:
            return None
        shape = self._shape(offer)
        if shape is None or (
            self.refused and any((item.protocol, place) in self.refused for place in (*item.cluster.at, *item.local.at))
        ):
            return None
        classes = (self._classes_of(item.cluster, item.protocol), self._classes_of(item.local, item.protocol))
        address = len(offer.targets) if kind is FrontendKind.NODE_PORT else self.distinctions.of_address(value)
        return (kind, address, self.distinctions.of_port(first.port), alike, shape.lines, shape.chains, classes)

    def _outdated(self, offer: Offer) -> tuple[Kind, Outdated] | None:
        """The kind that an offer is of, but for its endpoints. None where that is not enough to tell what its rules do, or
        which of them do it: where Local policies make several lists of endpoints."""
        item, first = offer.item, offer.targets[0]
        if not isinstance(self.cut, CutDump) or item.wants is None or not item.cluster.at:
            return None
        is_local = first.kind is FrontendKind.NODE_PORT or self._is_local(int(first.address))
        if item.wants[first.kind, is_local][1]:
            return None
        queue = list(dict.fromkeys(name for line in self.cut.dispatch.get(offer.key, ()) for name in line.links))
        choosing: list[tuple[bytes, ChainText]] = []
        for name in queue:  # grows while it is read
            text = self.cut.text(name)
            if text is None:
                return None
            queue += [link for link in text.links if link not in queue]
            if text.endpoints:
                choosing.append((name, text))
        if len(choosing) != 1:
            return None
        chain, text = choosing[0]
        names = self._named_places(text, item.protocol)
        if names is None:
            return None
        asked = set(zip(item.cluster.addresses, item.cluster.ports, strict=True))
        if {address for address, _ in asked - names.keys()} & {address for address, _ in names.keys() - asked}:
            return None  # At another port: that is told in another way.
        addresses, ports = zip(*names, strict=True)
        at = tuple(sorted(self._place(address, port) for address, port in names))
        rules = replace(item, cluster=Places(addresses, ports, at))
        kind = self.kind(Offer(offer.key, offer.spot, rules, offer.targets, offer.keys))
        return (kind, Outdated(offer, rules, chain, names)) if kind is not None else None

    def _named_places(self, text: ChainText, protocol: bytes) -> dict[tuple[int, int], bytes] | None:
        """Address and port of a chain's endpoints, and the hash in the name of the chain of each; None if they are not of one
        form, or if one is listed twice."""
        hashes = _listed(text)
        if hashes is None:
            return None
        for _, places in self.places[protocol]:
            there = [places.get(name) for name in hashes]
            if None in there:
                continue
            found: dict[tuple[int, int], bytes] = {}
            for name, place in zip(hashes, there, strict=True):
                address, _, port = (place or b"").decode().rpartition(":")
                try:
                    found[int(ip_address(address.strip("[]"))), int(port)] = name
                except ValueError:
                    return None
            alone = len({address for address, _ in found}) == len(hashes)
            return found if alone and all(port <= _LAST_PORT for _, port in found) else None
        return None

    def _place(self, address: int, port: int) -> bytes:
        form = b"[%b]:%d" if self.family is Family.IPV6 else b"%b:%d"
        return form % (self._text_of(address), port)

    def _text_of(self, address: int) -> bytes:
        return str(IPv6Address(address) if self.family is Family.IPV6 else IPv4Address(address)).encode()

    def _is_local(self, value: int) -> bool:
        return any(low <= value <= high for low, high in self.local.ranges)

    def _shape(self, offer: Offer) -> Shape | None:
        """The shape of an offer's rules; None if they are not of the usual form. What is the same on the first node is not
        worked out again."""
        like = self.cut.like if isinstance(self.cut, CutDump) else None
        known = like.shapes.get(offer.key) if like is not None else None
        if like is not None and isinstance(known, Shape) and self._still_has(offer, known, like):
            return known
        lines: list[object] = []
        numbers: dict[bytes, int] = {}
        for line in self.cut.dispatch.get(offer.key, ()):
            links = tuple([numbers.setdefault(name, len(numbers)) for name in line.links])
            lines.append((line.form, links))
        texts: list[ChainText] = []
        chains = self._chains(offer, numbers, texts)
        if chains is None:
            return None
        shape = Shape(tuple(lines), chains, offer.item.cluster, offer.item.local, tuple(numbers), texts)
        if isinstance(self.cut, CutDump) and like is None:
            self.cut.shapes[offer.key] = shape
        return shape

    def _still_has(self, offer: Offer, known: Shape, like: CutDump) -> bool:
        """True if the rules and the endpoints of an offer are those that it had where its shape was worked out."""
        item, key = offer.item, offer.key
        if item.cluster is not known.cluster or item.local is not known.local:
            return False
        lines, others = self.cut.dispatch.get(key, ()), like.dispatch.get(key, ())
        if [line[1:] for line in lines] != [line[1:] for line in others]:
            return False
        changed = self.changed
        return changed.isdisjoint(known.names) and all(changed.isdisjoint(text.endpoints) for text in known.texts)

    def _chains(self, offer: Offer, numbers: dict[bytes, int], texts: list[ChainText]) -> tuple[object, ...] | None:
        """The chains that are reached, in the order in which they are named, and whose endpoints are in each."""
        found: list[object] = []
        item, keys = offer.item, offer.keys
        queue = list(numbers)
        for name in queue:  # grows while it is read
            text = self.cut.text(name)
            if text is None or not text.form.regular:
                return None
            if any(key not in keys for key in text.keys):
                return None
            texts.append(text)
            for link in text.links:
                if link not in numbers:
                    numbers[link] = len(numbers)
                    queue.append(link)
            endpoints: object = None
            if text.endpoints:
                endpoints = self._endpoints(item, text)
                if endpoints is None:
                    return None
            found.append(
                (
                    text.kind,
                    text.form.number,
                    tuple([numbers[link] for link in text.links]),
                    tuple([keys.index(key) for key in text.keys]),
                    endpoints,
                )
            )
        return tuple(found)

    def _endpoints(self, item: Outlook, text: ChainText) -> tuple[bytes, bool, bool] | None:
        """The form of the endpoints' chains, and whether they are those for Cluster policies, for Local ones."""
        hashes = _listed(text)
        if hashes is None:
            return None
        for form, places in self.places[item.protocol]:
            there = tuple(map(places.get, hashes))
            everywhere, near = there == item.cluster.at, there == item.local.at
            if not everywhere and not near:
                if None in there:
                    continue
                there = tuple(sorted(place for place in there if place is not None))
                everywhere, near = there == item.cluster.at, there == item.local.at
            return (form, everywhere, near) if everywhere or near else None
        return None

    def _classes_of(self, places: Places, protocol: bytes) -> object:
        """What rules and routes can tell of the endpoints: the classes of their addresses and ports."""
        if not places.at:
            return ()
        distinctions = self.distinctions
        marked = self.cut.marked.get(protocol)
        if marked is not None and not marked.isdisjoint(places.at):
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


def _listed(text: ChainText) -> tuple[bytes, ...] | None:
    """The hashes in the names of the endpoints' chains that a chain leads to; None if its rules do not agree on them."""
    runs = text.form.runs
    if len(runs) <= 1:
        return text.endpoints
    lists = {tuple([text.endpoints[place] for place in run]) for run in runs}
    return lists.pop() if len(lists) == 1 else None


def _key(item: Outlook, target: ServiceAddress) -> Key:
    address = b"" if target.kind is FrontendKind.NODE_PORT else str(target.address).encode()
    return (address, item.protocol, b"%d" % target.port)


def _offers(item: Outlook) -> Iterable[Offer]:
    found: dict[Key, Offer] = {}
    keys: list[Key] = []
    for target in item.targets:
        key = _key(item, target)
        if key in found:
            found[key].targets.append(target)
        else:
            found[key] = Offer(key, spot_of(target, item.service_port.protocol), item, [target], keys)
            keys.append(key)
    return found.values()
