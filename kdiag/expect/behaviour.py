"""What ought to happen to the packets of each client of a Service address, as cases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from kdiag.expect.ipvs_ways import ipvs_ways
from kdiag.expect.rule_ways import rule_ways
from kdiag.expect.situation import Situation, Way
from kdiag.expect.userspace_ways import userspace_ways
from kdiag.model.addresses import Address, AddressSet
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
from kdiag.walk.cases import cut, make_outcome
from kdiag.walk.network import NodeNetwork


def ways(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    """The legal ways for clients that the detector takes for pods or not, inside the source ranges or not."""
    match situation.rules.mode:
        case ProxyMode.IPTABLES | ProxyMode.NFTABLES:
            return rule_ways(situation, is_pod=is_pod, in_ranges=in_ranges)
        case ProxyMode.IPVS:
            return ipvs_ways(situation, is_pod=is_pod, in_ranges=in_ranges)
        case ProxyMode.USERSPACE:
            return userspace_ways(situation)
        case mode:
            assert_never(mode)


def expected_cases(
    situations: Iterable[Situation], clients: Iterable[ClientSet], network: NodeNetwork
) -> tuple[Case, ...]:
    """The cases of one frontend. Several situations (contradictory slices) give several legal outcomes.

    No situation at all gives no case: nothing can be expected.
    """
    cases: list[Case] = []
    alternatives = tuple(situations)
    if not alternatives:
        return ()
    first = alternatives[0]
    family = network.family
    ranges = first.target.source_ranges
    allowed = AddressSet.of(family, ranges) if ranges else AddressSet.everything(family)
    endpoints = {
        candidate.at.address for item in alternatives for candidate in (*item.selection.cluster, *item.selection.local)
    }
    for client in clients:
        if first.target.kind is FrontendKind.LOAD_BALANCER_IP:
            # Packets *from* the address itself are let in or not by release (KUBE-FW's rule for the VIP): not judged.
            itself = AddressSet.of(family, (first.target.address,))
            client = ClientSet(addresses=client.addresses - itself, interfaces=client.interfaces)
        pods, others, certain = first.detector.split(client, first.position)
        for part, is_pod in ((pods, True), (others, False)):
            inside = ClientSet(addresses=part.addresses & allowed, interfaces=part.interfaces)
            outside = ClientSet(addresses=part.addresses - allowed, interfaces=part.interfaces)
            for piece, in_ranges in ((inside, True), (outside, False)):
                if not piece:
                    continue
                legal = [way for item in alternatives for way in ways(item, is_pod=is_pod, in_ranges=in_ranges)]
                if not certain:
                    legal += [
                        way for item in alternatives for way in ways(item, is_pod=not is_pod, in_ranges=in_ranges)
                    ]
                cases += _cut_hairpins(piece, tuple(dict.fromkeys(legal)), endpoints, first, network)
    return tuple(cases)


def _cut_hairpins(
    piece: ClientSet, legal: tuple[Way, ...], endpoints: set[Address], situation: Situation, network: NodeNetwork
) -> list[Case]:
    """An endpoint that calls its own Service is masqueraded where it is sent back to itself."""
    usual = [_outcome(way, situation, network) for way in legal]
    if all(way.disposition is not Disposition.BACKEND for way in legal):
        return [Case(clients=piece, outcomes=tuple(dict.fromkeys(usual)))]
    callers = [
        ClientSet(addresses=AddressSet.of(network.family, (address,)), interfaces=piece.interfaces)
        for address in endpoints
        if address in piece.addresses
    ]
    cases = []
    for clients, members in cut([piece, *callers]):
        found = usual
        if len(members) > 1:
            found = _to_itself(legal, usual, clients.addresses.first(), situation, network)
        cases.append(Case(clients=clients, outcomes=tuple(dict.fromkeys(found))))
    return cases


def _to_itself(
    legal: tuple[Way, ...], usual: list[Outcome], caller: Address, situation: Situation, network: NodeNetwork
) -> list[Outcome]:
    """The outcomes for an endpoint that calls its own Service: what is sent back to it is masqueraded."""
    # A packet from the wire for an endpoint on the node itself goes to INPUT: POSTROUTING never sees it.
    unseen = situation.position is not Position.NODE and caller in network.local
    found = []
    for way, outcome in zip(legal, usual, strict=True):
        if way.disposition is Disposition.BACKEND and not (way.to_proxy or way.masquerade or unseen):
            # The pairs stay the same objects where nothing changes: there is an outcome like this for every endpoint.
            shares = [
                (replace(pair[0], masquerade=Masquerade.PROXY), pair[1])
                if pair[0].backend is not None and pair[0].backend.address == caller
                else pair
                for pair in outcome.shares
            ]
            outcome = Outcome(shares=tuple(shares))
        found.append(outcome)
    if situation.rules.mode is not ProxyMode.IPTABLES and caller not in (network.pods | network.local):
        # IPVS mode and nftables mode (since 1.33) tell only the node's own endpoints from other callers.
        found += usual
    return found


def _outcome(way: Way, situation: Situation, network: NodeNetwork) -> Outcome:
    """What happens to packets of clients that are no endpoint themselves."""
    if way.disposition is not Disposition.BACKEND:
        return make_outcome([(Fate(disposition=way.disposition), 1.0)])
    if way.to_proxy:
        return make_outcome([(Fate(disposition=Disposition.BACKEND), 1.0)])
    share = 1 / len(way.endpoints)
    fates = []
    for candidate in way.endpoints:
        masquerade = way.masquerade
        if situation.position is not Position.NODE and candidate.at.address in network.local:
            masquerade = False  # See `_to_itself`.
        fates.append(
            (
                Fate(
                    disposition=Disposition.BACKEND,
                    backend=candidate.at,
                    masquerade=Masquerade.PROXY if masquerade else Masquerade.NO,
                    affinity_s=situation.service.affinity_s,
                ),
                share,
            )
        )
    return make_outcome(fates)
