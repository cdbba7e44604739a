"""Which endpoints one node uses for a Service port.

Source: pkg/proxy/topology.go of 1.24 to 1.33 and FilterEndpoints of 1.21 to 1.23.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from kdiag.expect.endpoints import Candidates
from kdiag.model.cluster import Node, Service, TrafficPolicy
from kdiag.model.proxy import ProxyMode, Version

HINT_ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
"""Those by which a Service asks for its endpoints to be chosen by zone: the old one and the new one."""


class Selection(Struct, frozen=True, kw_only=True):
    """`cluster` serves Cluster policies (and the short cut of Local ones), `local` serves Local policies.

    `has_any` is False if nothing is usable anywhere, which is answered with a reject.
    """

    cluster: Candidates
    local: Candidates
    has_any: bool


class ProxyRules(Struct, frozen=True, kw_only=True):
    """What decides the choice besides the API objects: release, feature gates, mode, and the node."""

    version: Version
    gates: Mapping[str, bool]
    node_name: str
    node: Node | None
    mode: ProxyMode = ProxyMode.IPTABLES
    assumed_zone: str | None = None
    """The zone to go by where the Node object was not read."""

    @property
    def zone(self) -> str | None:
        """The node's zone."""
        return self.node.zone if self.node else self.assumed_zone

    def gate(self, gate_name: str, *, on_from: Version) -> bool:
        """A feature gate's state: as configured, else on from the release that turned it on by default."""
        return self.gates.get(gate_name, self.version >= on_from)


def uses_local_externally(service: Service, version: Version) -> bool:
    """True if externalTrafficPolicy Local counts for the Service.

    Up to 1.28 only for types NodePort and LoadBalancer, from 1.29 on for every Service that can be reached from
    outside (pkg/api/v1/service/util.go).
    """
    if service.external_policy is not TrafficPolicy.LOCAL:
        return False
    return service.type in ("NodePort", "LoadBalancer") or (version >= (1, 29) and bool(service.external_ips))


def uses_local_internally(service: Service, rules: ProxyRules) -> bool:
    """True if internalTrafficPolicy Local counts: gate ServiceInternalTrafficPolicy, on from 1.22, alpha in 1.21."""
    return service.internal_policy is TrafficPolicy.LOCAL and rules.gate(
        "ServiceInternalTrafficPolicy", on_from=(1, 22)
    )


def select(candidates: Candidates, service: Service, rules: ProxyRules) -> Selection:
    """Choose the endpoints of one Service port for one node."""
    ready = tuple(candidate for candidate in candidates if candidate.ready)
    if rules.version <= (1, 23):
        return _select_old(ready, service, rules)
    terminating: Candidates = ()
    if rules.gate("ProxyTerminatingEndpoints", on_from=(1, 26)):
        terminating = tuple(candidate for candidate in candidates if candidate.last_resort)
    narrowed = _by_topology(ready, service, rules)
    here = rules.node_name
    local_ready = tuple(candidate for candidate in ready if candidate.node_name == here)
    local_terminating = tuple(candidate for candidate in terminating if candidate.node_name == here)
    return Selection(
        cluster=narrowed if ready else terminating,
        local=local_ready or local_terminating,
        has_any=bool(ready or terminating),
    )


def _select_old(ready: Candidates, service: Service, rules: ProxyRules) -> Selection:
    """Up to 1.23: external Local keeps all and picks later, internal Local narrows everything to the node."""
    local = tuple(candidate for candidate in ready if candidate.node_name == rules.node_name)
    if uses_local_externally(service, rules.version):
        chosen = ready
    elif uses_local_internally(service, rules):
        chosen = local
    else:
        chosen = _by_topology(ready, service, rules)
    return Selection(cluster=chosen, local=local, has_any=bool(chosen))


def _by_topology(ready: Candidates, service: Service, rules: ProxyRules) -> Candidates:
    if not ready:
        return ready
    if _node_hints_count(rules) and all(candidate.node_hints for candidate in ready):
        same_node = tuple(candidate for candidate in ready if rules.node_name in candidate.node_hints)
        if same_node:
            return same_node
    zone = rules.zone
    if not zone or not _zone_hints_count(service, rules) or not all(candidate.zone_hints for candidate in ready):
        return ready
    same_zone = tuple(candidate for candidate in ready if zone in candidate.zone_hints)
    return same_zone or ready


def _node_hints_count(rules: ProxyRules) -> bool:
    return rules.version >= (1, 33) and rules.gate("PreferSameTrafficDistribution", on_from=(1, 34))


def _zone_hints_count(service: Service, rules: ProxyRules) -> bool:
    """Hints alone decide from 1.31 (ServiceTrafficDistribution); before, the Service's annotation has to ask for it."""
    if rules.version >= (1, 30) and rules.gate("ServiceTrafficDistribution", on_from=(1, 31)):
        return True
    if not rules.gate("TopologyAwareHints", on_from=(1, 24)) or rules.version < (1, 21):
        return False
    annotations, (hints, mode) = service.meta.annotations, HINT_ANNOTATIONS
    asked = annotations.get(hints)
    if asked is None and rules.version >= (1, 27):
        asked = annotations.get(mode)
    if rules.version >= (1, 27):
        return bool(asked) and asked not in ("Disabled", "disabled")
    return asked in ("Auto", "auto")
