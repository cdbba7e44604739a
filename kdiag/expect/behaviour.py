"""What ought to happen to the packets of each client of a Service address.

The matrix of policies, releases and client positions of kube-proxy's iptables mode, as outcomes. Sources:
pkg/proxy/iptables/proxier.go of 1.16 to 1.36 (which rules are written) read for what they do to a packet; the other
modes are made to do the same but for what their plane's documentation says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kdiag.expect.endpoints import Candidates
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.selection import ProxyRules, Selection, uses_local_externally, uses_local_internally
from kdiag.model.addresses import Address, AddressSet, Network
from kdiag.model.cluster import Service
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
from kdiag.walk.cases import cut, make_outcome
from kdiag.walk.network import NodeNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDetector:
    """How a pod of the cluster is told from other clients: by address range, or by interface; neither is a no-op."""

    network: Network | None = None
    interface: str | None = None
    """An interface name, or a prefix followed by `+`."""

    @property
    def works(self) -> bool:
        """False for the no-op detector."""
        return self.network is not None or self.interface is not None

    def split(self, clients: ClientSet, position: Position) -> tuple[ClientSet, ClientSet, bool]:
        """The clients that count as pods, the others, and whether that is certain."""
        nobody = ClientSet(addresses=AddressSet.nothing(clients.addresses.family), interfaces=clients.interfaces)
        if self.network is not None:
            inside = AddressSet.of(clients.addresses.family, (self.network,))
            return (
                ClientSet(addresses=clients.addresses & inside, interfaces=clients.interfaces),
                ClientSet(addresses=clients.addresses - inside, interfaces=clients.interfaces),
                True,
            )
        if self.interface is None or position is Position.NODE:
            return nobody, clients, True
        if clients.interfaces is None:
            return clients, nobody, False
        prefix = self.interface.removesuffix("+")
        by_prefix = self.interface.endswith("+")
        mine = frozenset(
            item for item in clients.interfaces if (item.startswith(prefix) if by_prefix else item == prefix)
        )
        return (
            ClientSet(addresses=clients.addresses, interfaces=mine),
            ClientSet(addresses=clients.addresses, interfaces=clients.interfaces - mine),
            True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One legal way to treat some clients: to these endpoints, masqueraded or not, or to no endpoint at all."""

    endpoints: Candidates = ()
    masquerade: bool = False
    disposition: Disposition = Disposition.BACKEND


REJECT = Way(disposition=Disposition.REJECTED)
DROP = Way(disposition=Disposition.DROPPED)
PASS = Way(disposition=Disposition.UNTRANSLATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that decides the way of some clients, but for who they are."""

    service: Service
    target: ServiceAddress
    position: Position
    selection: Selection
    rules: ProxyRules
    detector: LocalDetector
    masquerade_all: bool
    target_is_local: bool


def ways(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    """The legal ways for clients that the detector takes for pods or not, inside the source ranges or not."""
    if situation.target.kind is FrontendKind.CLUSTER_IP:
        return _internal(situation, is_pod=is_pod)
    return _external(situation, is_pod=is_pod, in_ranges=in_ranges)


def _internal(situation: Situation, *, is_pod: bool) -> tuple[Way, ...]:
    rules, selection = situation.rules, situation.selection
    masquerade = situation.masquerade_all or (situation.detector.works and not is_pod)
    if not selection.has_any:
        # FORWARD has been sent to KUBE-SERVICES since 1.18; before, only the node itself was refused.
        old = rules.version < (1, 18) and situation.position is not Position.NODE
        return (REJECT, PASS) if old else (REJECT, *_unready_bug(situation))
    if uses_local_internally(situation.service, rules) and rules.version >= (1, 24):
        if not selection.local:
            return (DROP,) if rules.version >= (1, 25) else (DROP, PASS)
        return (Way(endpoints=selection.local, masquerade=masquerade),)
    return (Way(endpoints=selection.cluster, masquerade=masquerade),)


def _unready_bug(situation: Situation) -> tuple[Way, ...]:
    # 1.22.0 counted unready endpoints (kubernetes PR 106030): no reject, and an empty chain, or the drop that ends
    # KUBE-XLB and KUBE-FW.
    if situation.rules.version != (1, 22):
        return ()
    return (PASS,) if situation.target.kind is FrontendKind.CLUSTER_IP else (PASS, DROP)


def _external(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    rules, selection, position = situation.rules, situation.selection, situation.position
    version = rules.version
    # Up to 1.24 the drop is left to a mark that kubelet's rules act upon, and newer kubelets write none.
    dropped = (DROP,) if version >= (1, 25) else (DROP, PASS)
    if not selection.has_any:
        # KUBE-EXTERNAL-SERVICES is not reached from OUTPUT: the node's own packet leaves as it is.
        if position is Position.NODE and not situation.target_is_local:
            return (PASS,)
        old = version <= (1, 18) and not situation.target_is_local
        return (REJECT, PASS) if old else (REJECT, *_unready_bug(situation))
    if not in_ranges:
        return dropped
    local_policy = uses_local_externally(situation.service, version)
    if version <= (1, 21) and situation.target.kind is FrontendKind.EXTERNAL_IP:
        return _old_external_ip(situation, local_policy=local_policy, is_pod=is_pod)
    if local_policy:
        return _local_policy(situation, is_pod=is_pod, dropped=dropped)
    masquerade = True
    if version <= (1, 23) and situation.target.kind is FrontendKind.EXTERNAL_IP:
        masquerade = not (situation.detector.works and is_pod)
    return (Way(endpoints=selection.cluster, masquerade=masquerade),)


def _local_policy(situation: Situation, *, is_pod: bool, dropped: tuple[Way, ...]) -> tuple[Way, ...]:
    selection = situation.selection
    if situation.detector.works and is_pod:
        return (Way(endpoints=selection.cluster),)
    if situation.position is Position.NODE:
        return (Way(endpoints=selection.cluster, masquerade=True),)
    if selection.local:
        return (Way(endpoints=selection.local),)
    return dropped


def _old_external_ip(situation: Situation, *, local_policy: bool, is_pod: bool) -> tuple[Way, ...]:
    """Up to 1.20 a bridged pod and the node itself do not reach an external IP that is not the node's own."""
    selection = situation.selection
    elsewhere = situation.rules.version <= (1, 20) and not situation.target_is_local
    if elsewhere and situation.position is Position.NODE:
        return (PASS,)
    found = [Way(endpoints=selection.cluster, masquerade=True)]
    if situation.rules.version == (1, 21) and is_pod:
        found.append(Way(endpoints=selection.cluster))
    if local_policy:
        found += _local_policy(situation, is_pod=is_pod, dropped=(DROP, PASS))
    if elsewhere and situation.position is Position.POD:
        found.append(PASS)
    return tuple(found)


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
    if all(way.disposition is not Disposition.BACKEND for way in legal):
        return [Case(clients=piece, outcomes=_outcomes(legal, None, situation, network))]
    callers = [
        ClientSet(addresses=AddressSet.of(network.family, (address,)), interfaces=piece.interfaces)
        for address in sorted(endpoints, key=str)
        if address in piece.addresses
    ]
    cases = []
    for clients, members in cut([piece, *callers]):
        caller = clients.addresses.first() if len(members) > 1 else None
        cases.append(Case(clients=clients, outcomes=_outcomes(legal, caller, situation, network)))
    return cases


def _outcomes(
    legal: tuple[Way, ...], caller: Address | None, situation: Situation, network: NodeNetwork
) -> tuple[Outcome, ...]:
    return tuple(dict.fromkeys(_outcome(way, caller, situation, network) for way in legal))


def _outcome(way: Way, caller: Address | None, situation: Situation, network: NodeNetwork) -> Outcome:
    if way.disposition is not Disposition.BACKEND:
        return make_outcome([(Fate(disposition=way.disposition), 1.0)])
    share = 1 / len(way.endpoints)
    fates = []
    for candidate in way.endpoints:
        masquerade = way.masquerade or candidate.at.address == caller
        # A packet from the wire for an endpoint on the node itself goes to INPUT: POSTROUTING never sees it.
        if situation.position is not Position.NODE and candidate.at.address in network.local:
            masquerade = False
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
