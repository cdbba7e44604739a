"""What a node offers, and into which kinds it was sorted (see `kdiag.pipeline.twins`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.compare.telling import TellingRules
from kdiag.expect.dataplane import LeftOut, Spot, frontends_of, spot_of, spot_of_frontend
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.outlook import Outlook
from kdiag.expect.places import Places
from kdiag.model.addresses import Address, Family, address_text, family_of
from kdiag.model.dataplane import Behaviour, Case, ClientSet, DataPlane, Frontend, Position
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.service_words import Key
from kdiag.planes.interface import sends_on
from kdiag.walk.network import NodeNetwork

if TYPE_CHECKING:
    from kdiag.parse.nft_cut import CutTable

    Cut = CutDump | CutTable
    """The rules of one family, cut into what is a Service's own and the rest."""


class Kind(Struct, frozen=True, cache_hash=True):
    """What offers have in common that get the same. Looked up for every offer of every node: it keeps its hash.

    The last of the `parts` are the classes of ports and endpoints: of the offer's port, of the endpoints for Cluster policies,
    and of those for Local ones; the last but one is the protocol.
    """

    parts: tuple[Any, ...]

    @property
    def classes(self) -> AbstractSet[tuple[Any, ...]]:
        """Those of the endpoints for Cluster policies: of their addresses, each with that of its port."""
        return _with_ports(self.parts[-1][1])

    def but_for_classes(self, unasked: int | None) -> tuple[object, ...]:
        """All but the classes of the endpoints for Cluster policies; and but the protocol, if no rule asks for it at these
        ports: if the class of all of them is `unasked`."""
        *parts, protocol, (port, cluster, local) = self.parts
        ports = {port, *(classes[1] for found in (cluster, local) for classes in _with_ports(found))}
        return (*parts, port, local, protocol if ports != {unasked} else None)


def _with_ports(found: Any) -> AbstractSet[tuple[Any, ...]]:
    """The classes of some endpoints (`Sorter._classes_of`), one by one."""
    if isinstance(found, frozenset):
        return found
    addresses, port = found or ((), None)
    return {(address, port) for address in addresses}


class Offer(Struct, gc=False):
    """A Service port at one of its addresses, or as a NodePort (see `SortedOffers.frontends`)."""

    key: Key
    spot: Spot
    item: Outlook
    targets: Sequence[ServiceAddress]
    keys: Sequence[Key]
    """Those of all offers of the port."""

    @property
    def size(self) -> int:
        """How many endpoints there are for Cluster policies."""
        return len(self.item.cluster.addresses)


class Outdated(Struct):
    """An offer that would be of a kind if the API had the endpoints of its rules: `rules` is its outlook then.

    `chain` is the one in which one of its endpoints is chosen, `names` has for each the hash in the name of its chain.
    `clients` are those who are sent to them (`Wanted.to_cluster`).
    """

    offer: Offer
    rules: Outlook
    chain: bytes
    names: Mapping[tuple[int, int], bytes]
    clients: Collection[tuple[Position, bool]]


class RulesForm(Struct, frozen=True, cache_hash=True):
    """What the rules of an offer are like, but for names, addresses and ports: the lines for its address and the chains
    that these lead to."""

    lines: tuple[object, ...]
    chains: tuple[object, ...]


class Shape(Struct, frozen=True, gc=False):
    """The form of an offer's rules, with the API's endpoints; `names` are those of the chains."""

    form: RulesForm
    cluster: Places
    local: Places
    names: tuple[bytes, ...]


class Walked(Struct, frozen=True):
    """What came out for a Service port of some kind that is right: on how many frontends, and a case of these in which packets
    are sent on, if there is one. `decided` is True if on some way somebody else's rule decides."""

    frontends: int
    example: Case
    decided: bool


class SortedOffers(Struct):
    """All offers of one family, by kind. `apart` are judged each by itself. `in_part` is True if no others are judged.

    `outdated` are those whose endpoints are not the API's, by the kind that their rules make them.
    """

    family: Family
    cut: Cut
    source: str
    node_ports_at: tuple[Address, ...] = ()
    kinds: dict[Kind, list[Offer]] = field(default_factory=dict)
    apart: list[Offer] = field(default_factory=list)
    in_part: bool = False
    outdated: dict[Kind, list[Outdated]] = field(default_factory=dict)
    known: dict[Kind, Walked] = field(default_factory=dict)
    """Kinds that were walked on a node like this one (`kdiag.pipeline.likeness`) and are right: they are not walked again."""
    claims: Counter[Key] = field(default_factory=Counter)
    """How many offers have each key."""
    stray: set[Key] = field(default_factory=set)
    """The keys of rules that no Service explains."""
    here: list[Offer] = field(default_factory=list)
    """The offers that were sorted on this node: the others were taken over from the first one."""
    taken_over: LeftOut = LeftOut()
    """Where those are offered, and more that are in both."""

    def choose_walked(self, unasked: int | None) -> None:
        """Let few offers be walked, of few Services.

        Of kinds that differ only in the classes of their endpoints, one that has all that others have is walked for them: what
        rules do with an endpoint hangs on its own class. Of kinds that differ in their protocol as well, or only in that, if
        all of their ports are of the class `unasked`, at which no rule asks for the protocol.
        """
        shown = self._shown_by_others(unasked)
        others = {kind: self.kinds.pop(kind) for kind in shown}
        self._share_walks()
        for kind, offers in others.items():
            # Behind those that have endpoints of each class: one of these is walked.
            self.kinds[shown[kind]] += offers
            if kind in self.outdated:
                self.outdated.setdefault(shown[kind], []).extend(self.outdated.pop(kind))

    def _shown_by_others(self, unasked: int | None) -> Mapping[Kind, Kind]:
        """The kinds that need not be walked if another one is, and that one."""
        shown: dict[Kind, Kind] = {}
        wider: dict[object, list[Kind]] = {}
        for kind in sorted(self.kinds, key=lambda kind: -len(kind.classes)):
            like = wider.setdefault(kind.but_for_classes(unasked), [])
            found = next((other for other in like if kind.classes <= other.classes), None)
            if found is None:
                like.append(kind)
            else:
                shown[kind] = found
        return shown

    def _share_walks(self) -> None:
        """Let kinds be walked at the same Services, whose chains serve all of their addresses: the first of a kind may be any
        that has no more endpoints than it. Kinds with few offers have the least choice, and come first."""
        chosen = {id(offer.item) for offer in self.apart}
        for kind, offers in sorted(self.kinds.items(), key=lambda found: len(found[1])):
            if kind not in self.known:
                least = offers[0].size
                places = (at for at, offer in enumerate(offers) if id(offer.item) in chosen and offer.size == least)
                place = next(places, 0)
                offers[0], offers[place] = offers[place], offers[0]
                chosen.add(id(offers[0].item))

    def walked(self) -> Iterator[Offer]:
        """One offer of each kind, and those that are judged by themselves."""
        yield from self.apart
        for offers in self.kinds.values():
            yield offers[0]

    def twins(self) -> Iterator[Offer]:
        """Those that are right if the first of their kind is."""
        for offers in self.kinds.values():
            yield from offers[1:]

    def frontends(
        self, offer: Offer, network: NodeNetwork
    ) -> Iterator[tuple[Frontend, ServiceAddress, tuple[ClientSet, ...]]]:
        """The frontends of an offer on the node, and their clients: those of a NodePort are at the node's addresses."""
        targets = offer.targets
        if offer.spot[0] is None:
            targets = [replace(target, address=address) for target in targets for address in self.node_ports_at]
        return frontends_of(network, offer.item.service_port.protocol, targets)

    def known_firsts(self) -> Iterator[Offer]:
        """The first of each known kind."""
        for kind, offers in self.kinds.items():
            if kind in self.known:
                yield offers[0]

    def known_behaviours(self, network: NodeNetwork) -> Iterator[tuple[Frontend, Behaviour]]:
        """What is expected at the first of each known kind: what was seen on the other node."""
        for kind, (first, *_) in self.kinds.items():
            seen = self.known.get(kind)
            if seen is not None:
                behaviour = Behaviour(cases=(seen.example,), service_port=first.item.service_port)
                for frontend, _, _ in self.frontends(first, network):
                    yield frontend, behaviour

    def remember(self, actual: DataPlane, suspect: Collection[Spot]) -> None:
        """Keep for nodes like this one what was walked for each kind that is right."""
        firsts = {offers[0].spot: kind for kind, offers in self.kinds.items() if kind not in self.known}
        found: dict[Kind, list[Behaviour]] = {kind: [] for spot, kind in firsts.items() if spot not in suspect}
        for frontend, behaviour in actual.behaviours.items():
            kind = firsts.get(spot_of_frontend(frontend)) if frontend.family is self.family else None
            if kind in found:
                found[kind].append(behaviour)
        rules = TellingRules()
        for kind, behaviours in found.items():
            cases = [case for behaviour in behaviours for case in behaviour.cases]
            if cases:
                example = next((case for case in cases if sends_on(Behaviour(cases=(case,)))), cases[0])
                decided = any(rules.are_decided(case) for case in cases)
                self.known[kind] = Walked(len(behaviours), replace(example, paths={}), decided)

    def out_of_date(self) -> Iterator[Outdated]:
        """Those of which is known what their rules do, and that it is not what the API asks for."""
        for found in self.outdated.values():
            yield from found

    def unwalked(self) -> LeftOut:
        """Where what is not walked is offered, or is known; and the Services of which nothing is walked."""
        known = {offer.spot for offer in self.known_firsts()}
        walked = where([offer for offer in self.walked() if offer.spot not in known])
        here = where(self.here)
        return LeftOut(
            (self.taken_over.spots | here.spots) - walked.spots,
            (self.taken_over.services | here.services) - walked.services,
        )

    def part(self, suspect: Collection[Spot], unlike: Collection[Spot]) -> bool:
        """Judge every offer by itself that is of a kind with a suspect one, and those that are out of date also if their
        kind has one of `unlike`. False if there is none."""
        parted = False
        for kind, (first, *twins) in list(self.kinds.items()):
            if twins and first.spot in suspect:
                self.apart += self.kinds.pop(kind)
                parted = True
            if kind in self.outdated and (first.spot in suspect or first.spot in unlike):
                self.apart += [item.offer for item in self.outdated.pop(kind)]
                parted = True
        return parted

    def excerpt(self) -> tuple[set[bytes], set[Key]]:
        """The chains and the keys of the rules that packets to what is walked may meet, and of all that no Service explains.

        Of kinds that are known there is one in each chain: that nothing is in it would be a fault.
        """
        known = {offer.key for offer in self.known_firsts()}
        keys = {offer.key for offer in self.walked()} - known
        shown = {line.form[:2] for key in keys for line in self.cut.dispatch.get(key, ())}
        for key in sorted(known):
            forms = {line.form[:2] for line in self.cut.dispatch.get(key, ())}
            if not forms <= shown:
                shown |= forms
                keys.add(key)
        keys |= self.stray
        chains = self.cut.reached(keys)
        if self.cut.endpoints is not None:
            chains |= self.cut.unreached(self.stray)
            chains |= set(self.cut.endpoints.odd)
        return chains, keys


def where(offers: Sequence[Offer]) -> LeftOut:
    """Where these are offered, and their Services."""
    return LeftOut(
        frozenset([offer.spot for offer in offers]),
        frozenset([offer.item.service_port.service for offer in offers]),
    )


def _key_and_spot(item: Outlook, target: ServiceAddress) -> tuple[Key, Spot]:
    spot = spot_of(target, item.service_port.protocol)
    address = b"" if spot[0] is None else address_text(family_of(target.address), spot[0])
    return (address, item.protocol, b"%d" % target.port), spot


def offers_of(item: Outlook) -> Iterable[Offer]:
    """What a Service port is offered at."""
    if len(item.targets) == 1:  # As most have.
        (target,) = item.targets
        key, spot = _key_and_spot(item, target)
        return (Offer(key, spot, item, item.targets, (key,)),)
    found: dict[Key, tuple[Spot, list[ServiceAddress]]] = {}
    for target in item.targets:
        key, spot = _key_and_spot(item, target)
        found.setdefault(key, (spot, []))[1].append(target)
    keys = tuple(found)
    return [Offer(key, spot, item, targets, keys) for key, (spot, targets) in found.items()]
