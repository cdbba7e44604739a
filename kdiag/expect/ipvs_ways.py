"""The ways of packets in IPVS mode.

Sources: pkg/proxy/ipvs/proxier.go and ipset.go of 1.20 to 1.30, read for what virtual servers, sets and rules do to a
packet. What differs from iptables mode: a virtual server without real servers refuses; it is one for all clients, so a
Local policy knows no short cut for pods and the node; without a local endpoint it falls back on all endpoints (1.24 on).
"""

from __future__ import annotations

from kdiag.expect.endpoints import Candidates
from kdiag.expect.selection import uses_local_externally, uses_local_internally
from kdiag.expect.situation import DROP, PASS, REJECT, Situation, Way
from kdiag.model.cluster import Service
from kdiag.model.dataplane import FrontendKind, Position


def ipvs_ways(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    """The legal ways for clients that the detector takes for pods or not, inside the source ranges or not."""
    if situation.target.kind is FrontendKind.CLUSTER_IP:
        return _internal(situation, is_pod=is_pod)
    return _external(situation, in_ranges=in_ranges)


def _internal(situation: Situation, *, is_pod: bool) -> tuple[Way, ...]:
    rules, selection = situation.rules, situation.selection
    chosen = selection.cluster
    if uses_local_internally(situation.service, rules):
        chosen = _local_or_all(situation, falls_back=_is_external(situation.service))
    if situation.masquerade_all:
        return _to(chosen, (True,))
    if situation.detector.works:
        return _to(chosen, (not is_pod,))
    # Without a detector only packets are masked whose source is a ClusterIP: the node's own, unless bound elsewhere.
    return _to(chosen, (False, True) if situation.position is Position.NODE else (False,))


def _external(situation: Situation, *, in_ranges: bool) -> tuple[Way, ...]:
    version, position = situation.rules.version, situation.position
    local_policy = uses_local_externally(situation.service, version)
    chosen = _local_or_all(situation, falls_back=True) if local_policy else situation.selection.cluster
    served = _to(chosen, (not local_policy,))
    if in_ranges:
        return served
    if version <= (1, 24):
        # The drop is left to a mark that kubelet's rules act upon; without them the packet goes on, masked or not.
        return (DROP, PASS, *_to(chosen, (True, False)))
    # KUBE-PROXY-FIREWALL is asked from INPUT and FORWARD: the node's own packets never meet it.
    return served if position is Position.NODE else (DROP,)


def _local_or_all(situation: Situation, *, falls_back: bool) -> Candidates:
    selection = situation.selection
    if selection.local or situation.rules.version < (1, 24) or not falls_back:
        return selection.local
    return selection.cluster


def _is_external(service: Service) -> bool:
    """True for a Service with any address besides its ClusterIPs (ExternallyAccessible of pkg/proxy/serviceport.go)."""
    ports = any(item.node_port for item in service.ports)
    return ports or bool(service.external_ips) or any(ingress.ip is not None for ingress in service.ingress)


def _to(endpoints: Candidates, masquerades: tuple[bool, ...]) -> tuple[Way, ...]:
    if not endpoints:
        return (REJECT,)
    return tuple(Way(endpoints=endpoints, masquerade=item) for item in masquerades)
