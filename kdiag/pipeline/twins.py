"""Service ports that are alike are judged once.

A big node has ten thousand Service ports of a dozen kinds. Those of one kind have the same rules but for names, addresses
and ports, no other rule tells these apart, and the API asks the same for them. What one of them gets, all get, each at
its own addresses and from its own endpoints. So one of each kind is walked and judged like any Service port on a small
node, and the others are its twins: right if it is. A port whose endpoints are not those of the API, or that is not of one
of the usual kinds, is judged by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.expect.dataplane import NodeContext, Spot, detector_of, spot_of
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.outlook import Outlook, Places, PlainEndpoints, outlooks
from kdiag.model.addresses import AddressSet, Family
from kdiag.model.cluster import ClusterState, ObjectKey
from kdiag.model.dataplane import DataPlane, Frontend, FrontendKind, ServicePortKey
from kdiag.model.difference import Comparison
from kdiag.model.proxy import ProxyMode
from kdiag.model.rules import Ruleset
from kdiag.parse.iptables_cut import CutDump, Key
from kdiag.parse.iptables_forms import ChainText
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.iptables import choose
from kdiag.planes.iptables_conditions import serves
from kdiag.planes.programs import of_family
from kdiag.planes.rulesets import excerpt_of, nft_excerpt, whole_nft, whole_of
from kdiag.walk.distinctions import Distinctions

if TYPE_CHECKING:
    from kdiag.parse.nft_cut import CutTable

    Cut = CutDump | CutTable
    """The rules of one family, cut into what is a Service's own and the rest."""

Kind = tuple[object, ...]


class Offer(Struct):
    """A Service port at one of its addresses (or as a NodePort, at those of the node)."""

    key: Key
    spot: Spot
    item: Outlook
    targets: list[ServiceAddress]


class SortedOffers(Struct):
    """All offers of one family, by kind. `apart` are judged each by itself, `left_out` are those nobody asks about."""

    family: Family
    cut: Cut
    source: str
    kinds: dict[Kind, list[Offer]] = field(default_factory=dict)
    apart: list[Offer] = field(default_factory=list)
    left_out: list[Offer] = field(default_factory=list)

    def walked(self) -> Iterator[Offer]:
        """One offer of each kind, and those that are judged by themselves."""
        yield from self.apart
        for offers in self.kinds.values():
            yield offers[0]

    def twins(self) -> Iterator[Offer]:
        """Those that are right if the first of their kind is."""
        for offers in self.kinds.values():
            yield from offers[1:]

    def unwalked(self) -> set[Spot]:
        """Where what is not walked is offered."""
        return {offer.spot for offer in (*self.twins(), *self.left_out)}

    def part(self, suspect: Collection[Spot]) -> bool:
        """Judge every offer by itself that is of a kind with one of these. False if there is none."""
        found = [kind for kind, offers in self.kinds.items() if len(offers) > 1 and offers[0].spot in suspect]
        for kind in found:
            self.apart += self.kinds.pop(kind)
        return bool(found)

    def excerpt(self) -> tuple[set[bytes], set[Key], set[Key]]:
        """The chains and the keys of the rules that packets to what is walked may meet, and of all that no Service explains;
        and the keys of what is not walked."""
        keys = {offer.key for offer in self.walked()}
        claimed = keys | {offer.key for offer in (*self.twins(), *self.left_out)}
        without = claimed - keys
        keys |= self.cut.dispatch.keys() - claimed
        chains = self.cut.reached(keys)
        if self.cut.endpoints is not None:
            chains |= self.cut.chains.keys() - self.cut.reached(claimed, endpoints=False)
            chains |= set(self.cut.endpoints.odd)
        return chains, keys, without


def sort_offers(
    evidence: NodeEvidence,
    cluster: ClusterState,
    context: NodeContext,
    plain: PlainEndpoints,
    *,
    doubtful: Collection[ObjectKey],
    alone: Collection[ObjectKey],
    only: Collection[ObjectKey] | None,
) -> list[SortedOffers]:
    """Sort the Service ports of each family whose dump was cut up.

    Ports of `doubtful` Services are not among them, those of `alone` are judged by themselves. With `only`, the ports of
    these Services are, and the others not at all. A family that two backends serve, or whose packets meet virtual
    servers, is not sorted.
    """
    found = []
    for family, network in context.networks.items():
        chosen = _cut_of(evidence, family, context.mode)
        if chosen is None or (evidence.ipvs is not None and evidence.ipvs.servers):
            continue
        cut, source, around = chosen
        local = detector_of(family, context).network
        distinctions = Distinctions(
            network,
            (*cut.texts(), *around) if only is None else (),
            [*cut.addresses, *([AddressSet.of(family, [local])] if local is not None else [])],
            (evidence.ipsets or {}).values(),
            apart=evidence.nft is not None,
        )
        sorter = _Sorter(cut, distinctions, network.local)
        offers = SortedOffers(family, cut, source)
        known = (
            item
            for item in outlooks(cluster, context, family, plain, endpoints=only is None)
            if item.service_port.service not in doubtful
        )
        sorter.sort(offers, known, alone=alone, only=only)
        found.append(offers)
    return found


def _cut_of(evidence: NodeEvidence, family: Family, mode: ProxyMode) -> tuple[Cut, str, list[bytes]] | None:
    """The rules of kube-proxy in a family if they were cut up, what they were read from, and the text of all others."""
    candidates = of_family(evidence, family)
    if mode is ProxyMode.NFTABLES:
        table = evidence.nft_cut.tables.get(family) if evidence.nft_cut is not None else None
        if table is None or evidence.nft is None:
            return None
        around = [
            evidence.cuts[item.source].content if item.source in evidence.cuts else _text_of(item)
            for item in candidates
        ]
        # What changes the port alone sends packets to addresses that no rule names.
        if any(_TO_PORT.search(text) for text in around):
            return None
        return table, evidence.nft.source, around
    if not candidates:
        return None
    ruleset, others = choose(candidates)
    cut = evidence.cuts.get(ruleset.source)
    if cut is None or any(serves(other) for other in others):
        return None
    around = [_text_of(other) for other in others]
    if evidence.nft is not None:
        from kdiag.parse.nft_rest import prefixes_spelled

        around += [prefixes_spelled(item.content) for name, item in evidence.probes.items() if name.startswith("nft-")]
    return cut, ruleset.source, around


_TO_PORT = re.compile(rb"\b(?:REDIRECT|NETMAP)\b|(?:--to-destination |to:):")


def _text_of(ruleset: Ruleset) -> bytes:
    rules = [rule.text for table in ruleset.tables.values() for chain in table.chains.values() for rule in chain.rules]
    return "\n".join([*rules, *(line.text for line in ruleset.unread)]).encode()


class _Sorter:
    def __init__(self, cut: Cut, distinctions: Distinctions, local: AddressSet) -> None:
        self.cut = cut
        self.local = local
        self.distinctions = distinctions
        self.family = distinctions.family
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
        only: Collection[ObjectKey] | None,
    ) -> None:
        """Put each offer where it belongs."""
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
            kind = self.kind(offer) if service not in alone and claims[offer.key] == 1 else None
            if kind is None:
                sorted_offers.apart.append(offer)
            else:
                sorted_offers.kinds.setdefault(kind, []).append(offer)
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
        lines: list[object] = []
        numbers: dict[bytes, int] = {}
        for line in self.cut.dispatch.get(key, ()):
            links = tuple([numbers.setdefault(name, len(numbers)) for name in line.links])
            lines.append((line.form, links))
        chains = self._chains(item, numbers)
        if chains is None or (
            self.refused and any((item.protocol, place) in self.refused for place in (*item.cluster.at, *item.local.at))
        ):
            return None
        classes = (self._classes_of(item.cluster, item.protocol), self._classes_of(item.local, item.protocol))
        address = len(offer.targets) if kind is FrontendKind.NODE_PORT else self.distinctions.of_address(value)
        return (kind, address, self.distinctions.of_port(first.port), alike, tuple(lines), chains, classes)

    def _text_of(self, address: int) -> bytes:
        return str(IPv6Address(address) if self.family is Family.IPV6 else IPv4Address(address)).encode()

    def _is_local(self, value: int) -> bool:
        return any(low <= value <= high for low, high in self.local.ranges)

    def _chains(self, item: Outlook, numbers: dict[bytes, int]) -> tuple[object, ...] | None:
        """The chains that are reached, in the order in which they are named, and whose endpoints are in each."""
        found: list[object] = []
        keys: list[Key] = []
        queue = list(numbers)
        for name in queue:  # grows while it is read
            text = self.cut.text(name)
            if text is None or not text.form.regular:
                return None
            if text.keys:
                keys = keys or _keys(item)
                if any(key not in keys for key in text.keys):
                    return None
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
        hashes = text.endpoints
        runs = text.form.runs
        if len(runs) > 1:
            lists = {tuple([hashes[place] for place in run]) for run in runs}
            if len(lists) != 1:
                return None
            hashes = lists.pop()
        for form, places in self.places[item.protocol]:
            try:
                at = [places[name] for name in hashes]
            except KeyError:
                continue
            there = tuple(at)
            if there not in (item.cluster.at, item.local.at):
                there = tuple(sorted(at))
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
            form = b"[%b]:%d" if self.family is Family.IPV6 else b"%b:%d"
            return frozenset(
                (
                    distinctions.of_address(address),
                    distinctions.of_port(port),
                    form % (self._text_of(address), port) in marked,
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


def _key(item: Outlook, target: ServiceAddress) -> Key:
    address = b"" if target.kind is FrontendKind.NODE_PORT else str(target.address).encode()
    return (address, item.protocol, str(target.port).encode())


def _keys(item: Outlook) -> list[Key]:
    return list(dict.fromkeys([_key(item, target) for target in item.targets]))


def _offers(item: Outlook) -> Iterable[Offer]:
    found: dict[Key, Offer] = {}
    for target in item.targets:
        key = _key(item, target)
        if key in found:
            found[key].targets.append(target)
        else:
            found[key] = Offer(key, spot_of(target, item.service_port.protocol), item, [target])
    return found.values()


def narrowed(evidence: NodeEvidence, families: Iterable[SortedOffers]) -> NodeEvidence:
    """The evidence with what is to be walked of the dumps that were cut up; where nothing was sorted, with all of it."""
    by_source = {offers.source: offers for offers in families}
    rulesets = []
    for ruleset in evidence.rulesets:
        offers = by_source.get(ruleset.source)
        cut = evidence.cuts.get(ruleset.source)
        if cut is None:
            rulesets.append(ruleset)
        elif offers is None:
            rulesets.append(whole_of(cut, ruleset))
        else:
            chains, keys, _ = offers.excerpt()
            # Of a dump that was cut in part it is known only now whether it is as it ought to be.
            rulesets.append(excerpt_of(cut, ruleset, chains, keys) if cut.forms.whole else whole_of(cut, ruleset))
    nft = evidence.nft
    if nft is not None and evidence.nft_cut is not None:
        mine = {offers.family: offers.excerpt() for offers in families if offers.source == nft.source}
        nft = nft_excerpt(evidence.nft_cut, nft.source, mine) if mine else whole_nft(evidence.nft_cut, nft.source)
    return replace(evidence, rulesets=tuple(rulesets), nft=nft)


def suspects(comparison: Comparison, expected: DataPlane, actual: DataPlane) -> dict[Family, set[Spot]]:
    """The addresses that something is said of, and those of which nothing was seen."""
    unclear = {port for item in comparison.unclear for port in item.service_ports}
    found: dict[Family, set[Spot]] = {family: set() for family in Family}
    for group in comparison.groups:
        for difference in group.differences:
            found[difference.frontend.family].add(_spot(difference.frontend))
    for frontend, behaviour in expected.behaviours.items():
        if frontend not in actual.behaviours or behaviour.service_port in unclear:
            found[frontend.family].add(_spot(frontend))
    return found


def _spot(frontend: Frontend) -> Spot:
    address = None if frontend.kind is FrontendKind.NODE_PORT else int(frontend.address)
    return (address, frontend.protocol, frontend.port)


def twin_frontends(families: Iterable[SortedOffers], actual: DataPlane) -> int:
    """How many frontends the offers that were not walked have: as many each as the first of its kind."""
    walked = Counter((frontend.family, _spot(frontend)) for frontend in actual.behaviours)
    return sum(
        walked[offers.family, kind[0].spot] * (len(kind) - 1) for offers in families for kind in offers.kinds.values()
    )


def twin_ports(families: Iterable[SortedOffers]) -> frozenset[ServicePortKey]:
    """The Service ports of which something was not walked, being like another."""
    return frozenset(offer.item.service_port for offers in families for offer in offers.twins())
