"""KD307: a Local traffic policy, and no endpoint that is local to any node."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import (
    affected_ports,
    frontend_text,
    is_served,
    is_usable,
    only_port,
    reads_slices,
    service_families,
    slices_of,
    uses_terminating,
)
from kdiag.model.cluster import ClusterState, Service, ServicePort, TrafficPolicy
from kdiag.model.endpoints import Endpoint
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


class Homeless(Struct, frozen=True, kw_only=True):
    """A Service with a Local policy, the ports that no node serves, and the endpoints that no node calls its own."""

    service: Service
    policies: tuple[str, ...]
    ports: tuple[ServicePort, ...]
    endpoints: tuple[Endpoint, ...]


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    terminating = uses_terminating(view)
    # A kube-proxy that was given another name calls endpoints under that name local.
    overrides = frozenset(
        node.config.hostname_override for node in view.nodes if node.config and node.config.hostname_override
    )
    earlier, found = view.of_both(lambda state: _homeless(state, overrides, terminating=terminating))
    for key, item in found.items():
        if key in earlier:
            yield _finding(view, item)


def _homeless(state: ClusterState, overrides: frozenset[str], *, terminating: bool) -> dict[ObjectKey, Homeless]:
    if not reads_slices(state) or not state.nodes:
        return {}
    known = overrides | state.node_by_name.keys()
    out: dict[ObjectKey, Homeless] = {}
    for service in sorted(state.services, key=lambda item: item.key):
        policies = _local_policies(service)
        if not policies or not is_served(service) or service.headless:
            continue
        ports: list[ServicePort] = []
        strays: list[Endpoint] = []
        for port in service.ports:
            usable = _usable(state, service, port, terminating=terminating)
            if usable and not any(endpoint.node_name in known for endpoint in usable):
                ports.append(port)
                strays.extend(usable)
        if ports:
            unique = {(item.address, item.node_name): item for item in strays}
            out[service.key] = Homeless(
                service=service,
                policies=policies,
                ports=tuple(ports),
                endpoints=tuple(unique[key] for key in sorted(unique, key=str)),
            )
    return out


def _local_policies(service: Service) -> tuple[str, ...]:
    """The policies that are Local and have traffic to rule over."""
    out: list[str] = []
    external = bool(service.external_ips) or (
        service.type in ("NodePort", "LoadBalancer")
        and (any(port.node_port for port in service.ports) or any(item.ip for item in service.ingress))
    )
    if service.external_policy is TrafficPolicy.LOCAL and external:
        out.append("externalTrafficPolicy")
    if service.internal_policy is TrafficPolicy.LOCAL:
        out.append("internalTrafficPolicy")
    return tuple(out)


def _usable(state: ClusterState, service: Service, port: ServicePort, *, terminating: bool) -> list[Endpoint]:
    families = service_families(service)
    return [
        endpoint
        for item in slices_of(state, service)
        if item.family in families
        and any(
            other.port is not None and other.name == port.name and other.protocol is port.protocol
            for other in item.ports
        )
        for endpoint in item.endpoints
        if is_usable(endpoint, terminating=terminating)
    ]


def _finding(view: View, item: Homeless) -> Finding:
    service = item.service
    named = sorted({endpoint.node_name for endpoint in item.endpoints if endpoint.node_name})
    addresses = ", ".join(sorted({endpoint.address_text for endpoint in item.endpoints})[:5])
    why = (
        f"they name {', '.join(named[:5])}, which {'is no node' if len(named) == 1 else 'are no nodes'} of the cluster"
        if named
        else "they carry no nodeName, as hand-made endpoints often do"
    )
    policies = " and ".join(item.policies)
    kind = "external" if item.policies == ("externalTrafficPolicy",) else "affected"
    return CHECK.finding(
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontend_text(service, item.ports) if "internalTrafficPolicy" in item.policies else None,
        expected="endpoints that carry the name of a node",
        actual=f"node names: {', '.join(named[:5])}" if named else "no endpoint has a nodeName",
        message=(
            f"Service {service.key} has {policies}: Local, and none of its usable endpoints ({addresses}) belongs to a "
            f"known node: {why}. Every node therefore drops its {kind} traffic."
        ),
        hint=(
            f"kubectl -n {service.key.namespace} get endpointslices -l kubernetes.io/service-name={service.key.name} "
            f"-o yaml: set nodeName on the endpoints, or {policies.split(' ')[0]}: Cluster on the Service."
        ),
        affected=affected_ports(service, item.ports),
        evidence=tuple(
            line
            for endpoint in item.endpoints[:5]
            for line in from_api(
                view.cluster,
                "endpointslices",
                f"{service.key}: {endpoint.address_text} nodeName {endpoint.node_name or 'not set'}",
            )
        ),
    )


CHECK = Check(
    code="KD307",
    slug="local-policy-without-local-endpoint",
    title="Local traffic policy, and no endpoint is local to any node",
    severity=Severity.WARNING,
    explanation="""\
With `externalTrafficPolicy: Local` or `internalTrafficPolicy: Local` a node sends traffic only to endpoints whose
`nodeName` is its own name. If no usable endpoint carries the name of a node of the cluster, no node has a local one.

**What it does to traffic.** Every node drops what the policy rules over: traffic to node ports, external and load-balancer
addresses, or to the cluster IP.

**How it is found.** The node names of all usable endpoints of each port are looked up among the Node objects (and the
`--hostname-override` of the proxies that were read).

**What is left alone.** Nodes that simply have no pod of the Service: that they drop is what the policy asks for. Services
without any usable endpoint (KD302), and Local policies with no traffic to rule over.
""",
    hint="Set nodeName on the endpoints, or use the traffic policy Cluster.",
    run=run,
)
