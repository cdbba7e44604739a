"""What ought to happen to the packets of each client of a Service address, as cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, assert_never

from msgspec.structs import replace

from kdiag.expect.endpoints import Candidates
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.rule_ways import rule_ways
from kdiag.expect.selection import Selection
from kdiag.expect.situation import Situation, Way
from kdiag.model.addresses import AddressSet, SocketAddress
from kdiag.model.dataplane import (
    Case,
    ClientSet,
    Disposition,
    Fate,
    FrontendKind,
    Masquerade,
    Outcome,
    Position,
)
from kdiag.model.proxy import ProxyMode
from kdiag.walk.cases import make_outcome
from kdiag.walk.network import NodeNetwork

_T = TypeVar("_T")


def ways(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    """The legal ways for clients that the detector takes for pods or not, inside the source ranges or not."""
    match situation.rules.mode:
        case ProxyMode.IPTABLES | ProxyMode.NFTABLES:
            return rule_ways(situation, is_pod=is_pod, in_ranges=in_ranges)
        case ProxyMode.IPVS:
            from kdiag.expect.ipvs_ways import ipvs_ways

            return ipvs_ways(situation, is_pod=is_pod, in_ranges=in_ranges)
        case ProxyMode.USERSPACE:
            from kdiag.expect.userspace_ways import userspace_ways

            return userspace_ways(situation)
        case mode:
            assert_never(mode)


def expected_cases(
    situations: Iterable[Situation], clients: Iterable[ClientSet], outcomes: Outcomes
) -> tuple[Case, ...]:
    """The cases of one frontend. Several situations (contradictory slices) give several legal outcomes.

    No situation at all gives no case: nothing can be expected. `outcomes` are those of the Service port.
    """
    cases: list[Case] = []
    alternatives = tuple(situations)
    if not alternatives:
        return ()
    first = alternatives[0]
    family = outcomes.network.family
    ranges = first.target.source_ranges
    allowed = AddressSet.of(family, ranges)
    endpoints = outcomes.endpoints_of([item.selection for item in alternatives])
    for client in clients:
        pods, others, certain = first.detector.split(judged(client, first.target), first.position)
        for part, is_pod in ((pods, True), (others, False)):
            pieces = [(part, True)]
            if ranges:
                inside = ClientSet(addresses=part.addresses & allowed, interfaces=part.interfaces)
                outside = ClientSet(addresses=part.addresses - allowed, interfaces=part.interfaces)
                pieces = [(inside, True), (outside, False)]
            for piece, in_ranges in pieces:
                if not piece:
                    continue
                legal = [way for item in alternatives for way in ways(item, is_pod=is_pod, in_ranges=in_ranges)]
                if not certain:
                    legal += [
                        way for item in alternatives for way in ways(item, is_pod=not is_pod, in_ranges=in_ranges)
                    ]
                cases += _cut_hairpins(piece, distinct(legal), endpoints, first, outcomes)
    return tuple(cases)


def judged(client: ClientSet, target: ServiceAddress) -> ClientSet:
    """Those of the clients of an address of whom something is expected."""
    if target.kind is not FrontendKind.LOAD_BALANCER_IP:
        return client
    # Packets *from* the address itself are let in or not by release (KUBE-FW's rule for the VIP): not judged.
    itself = AddressSet.of(client.addresses.family, (target.address,))
    return ClientSet(addresses=client.addresses - itself, interfaces=client.interfaces)


def _cut_hairpins(
    piece: ClientSet, legal: tuple[Way, ...], endpoints: AddressSet, situation: Situation, known: Outcomes
) -> list[Case]:
    """An endpoint that calls its own Service is masqueraded where it is sent back to itself."""
    network = known.network
    outcomes = distinct([known.of(way, situation) for way in legal])
    callers = piece.addresses & endpoints
    if not callers or all(way.disposition is not Disposition.BACKEND for way in legal):
        return [Case(clients=piece, outcomes=outcomes)]
    rest = piece.addresses - callers
    cases = [Case(clients=ClientSet(addresses=rest, interfaces=piece.interfaces), outcomes=outcomes)] if rest else []
    # IPVS mode and nftables mode (since 1.33) tell only the node's own endpoints from other callers.
    told = None if situation.rules.mode is ProxyMode.IPTABLES else network.pods | network.local
    loops = [_Loops(outcome) for outcome in outcomes]
    for low, high in callers.ranges:
        for number in range(low, high + 1):
            caller = AddressSet.span(network.family, number, number)
            mine = outcomes
            # What comes from the wire for an endpoint on the node itself is not masqueraded at all: see Outcomes.
            if situation.position is Position.NODE or not caller & network.local:
                mine = distinct([item.called_by(number) for item in loops])
            if told is not None and not caller & told:
                mine = tuple(dict.fromkeys((*mine, *outcomes)))
            cases.append(Case(clients=ClientSet(addresses=caller, interfaces=piece.interfaces), outcomes=mine))
    return sorted(cases, key=lambda case: case.clients.addresses.ranges)


def distinct(items: Sequence[_T]) -> tuple[_T, ...]:
    """Each once. What is alone, as most are, need not be compared: these are large."""
    return tuple(items) if len(items) == 1 else tuple(dict.fromkeys(items))


class _Loops:
    """An outcome, and what it is for callers that are among its endpoints: they differ in one fate each."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._places: dict[int, list[int]] = {}
        for place, (fate, _) in enumerate(outcome.shares):
            if fate.backend is not None:
                self._places.setdefault(int(fate.backend.address), []).append(place)

    def called_by(self, number: int) -> Outcome:
        """The outcome for the caller with this address, which is masqueraded where it is sent back to itself.

        All other shares stay the same objects: there is an outcome like this for every endpoint.
        """
        shares = list(self._outcome.shares)
        for place in self._places.get(number, ()):
            fate, share = shares[place]
            shares[place] = (replace(fate, masquerade=Masquerade.PROXY), share)
        return Outcome(shares=tuple(shares))


class Outcomes:
    """What the ways of packets to one Service port come to for callers that are none of its endpoints.

    Most of its addresses have the same ways: what these come to is worked out once, and is the same object then.
    """

    def __init__(self, network: NodeNetwork) -> None:
        self.network = network
        # By identity: endpoints are the same object where they are the same. They are kept, so that it is not another's later.
        self._known: dict[tuple[object, ...], tuple[Candidates, Outcome]] = {}
        self._here: dict[int, tuple[Candidates, frozenset[SocketAddress]]] = {}
        self._addresses: dict[tuple[int, ...], tuple[list[Candidates], AddressSet]] = {}

    def of(self, way: Way, situation: Situation) -> Outcome:
        """What a way comes to."""
        # A packet from the wire for an endpoint on the node itself goes to INPUT: POSTROUTING never sees it.
        spared = self._on_the_node(way.endpoints) if situation.position is not Position.NODE else frozenset()
        key = (id(way.endpoints), way.masquerade, way.disposition, way.to_proxy, spared)
        if key not in self._known:
            self._known[key] = (way.endpoints, _outcome(way, situation.service.affinity_s, spared))
        return self._known[key][1]

    def endpoints_of(self, selections: Sequence[Selection]) -> AddressSet:
        """The addresses of all endpoints that some way may lead to."""
        chosen = [endpoints for item in selections for endpoints in (item.cluster, item.local)]
        key = tuple(map(id, chosen))
        if key not in self._addresses:
            addresses = [candidate.at.address for endpoints in chosen for candidate in endpoints]
            self._addresses[key] = (chosen, AddressSet.of(self.network.family, addresses))
        return self._addresses[key][1]

    def _on_the_node(self, endpoints: Candidates) -> frozenset[SocketAddress]:
        if id(endpoints) not in self._here:
            local = self.network.local
            here = frozenset([candidate.at for candidate in endpoints if candidate.at.address in local])
            self._here[id(endpoints)] = (endpoints, here)
        return self._here[id(endpoints)][1]


def _outcome(way: Way, affinity_s: int | None, spared: frozenset[SocketAddress]) -> Outcome:
    if way.disposition is not Disposition.BACKEND:
        return make_outcome([(Fate(disposition=way.disposition), 1.0)])
    if way.to_proxy:
        return make_outcome([(Fate(disposition=Disposition.BACKEND), 1.0)])
    share = 1 / len(way.endpoints)
    fates = []
    for candidate in way.endpoints:
        masquerade = way.masquerade and candidate.at not in spared
        fates.append(
            (
                Fate(
                    disposition=Disposition.BACKEND,
                    backend=candidate.at,
                    masquerade=Masquerade.PROXY if masquerade else Masquerade.NO,
                    affinity_s=affinity_s,
                ),
                share,
            )
        )
    return make_outcome(fates)
