"""KD308: a Service with an address of a family that has no usable endpoint."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import (
    Lack,
    affected_ports,
    has_endpoint_lists,
    is_served,
    offer_of,
    only_port,
    port_list,
    service_families,
    shortages_by,
    uses_terminating,
)
from kdiag.model.addresses import Family, SocketAddress, family_of, parse_address
from kdiag.model.cluster import ClusterState, Service, ServicePort
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import View


class HalfServed(Struct, frozen=True, kw_only=True):
    """A Service with ports that are served in one of its families and not in the other."""

    service: Service
    family: Family
    ports: tuple[ServicePort, ...]


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    terminating = uses_terminating(view)
    earlier, found = view.of_both(lambda state: _half_served(state, terminating=terminating))
    out = {
        key: _half(view, item) for key, item in found.items() if key in earlier and earlier[key].family is item.family
    }
    for item in shortages_by(view, Lack.FAMILY):
        out[item.service.key] = _wrong(view, item.service, item.ports)
    for key in sorted(out):
        yield out[key]


def _half_served(state: ClusterState, *, terminating: bool) -> dict[ObjectKey, HalfServed]:
    if not has_endpoint_lists(state):
        return {}
    out: dict[ObjectKey, HalfServed] = {}
    for service in state.services:
        families = service_families(service)
        if service.headless or not is_served(service) or len(families) < 2:
            continue
        offered = offer_of(state, service, terminating=terminating).ports
        for family, other in (families, families[::-1]):
            ports = tuple(
                port
                for port in service.ports
                if (family, port.name, port.protocol) not in offered and (other, port.name, port.protocol) in offered
            )
            if ports:
                out[service.key] = HalfServed(service=service, family=family, ports=ports)
                break
    return out


def _half(view: View, item: HalfServed) -> Finding:
    service = item.service
    required = service.ip_family_policy == "RequireDualStack"
    frontends = [
        f"{SocketAddress(address, port.port)}/{port.protocol}"
        for address in service.cluster_ips
        if family_of(address) is item.family
        for port in item.ports
    ]
    return CHECK.finding(
        severity=Severity.WARNING if required else Severity.INFO,
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontends[0] if len(frontends) == 1 else None,
        expected=f"usable {item.family} endpoints",
        actual="none",
        message=(
            f"Service {service.key} ({service.ip_family_policy or 'no ipFamilyPolicy'}) has an {item.family} address, and "
            f"for port {port_list(item.ports)} usable endpoints of the other family only: connections to "
            f"{', '.join(frontends)} fail.{_nodes_lack(view.cluster, item.family)}"
        ),
        affected=affected_ports(service, item.ports),
        evidence=_evidence(view, service),
    )


def _wrong(view: View, service: Service, ports: tuple[ServicePort, ...]) -> Finding:
    wanted = " and ".join(str(family) for family in service_families(service))
    return CHECK.finding(
        service=str(service.key),
        port=only_port(ports),
        expected=f"usable {wanted} endpoints",
        actual="endpoints or ready pods of the other family only",
        message=(
            f"Service {service.key} has only an {wanted} address, and what stands behind it has only addresses of the "
            "other family: it has no usable endpoint and connections to it fail."
            f"{_nodes_lack(view.cluster, service_families(service)[0])}"
        ),
        affected=affected_ports(service, ports),
        evidence=_evidence(view, service),
    )


def _nodes_lack(state: ClusterState, family: Family) -> str:
    """A sentence if no node has an address or a pod range of the family."""
    if not state.nodes:
        return ""
    version = 4 if family is Family.IPV4 else 6
    for node in state.nodes:
        addresses = (parse_address(text) for _, text in node.addresses)
        if any(address is not None and address.version == version for address in addresses):
            return ""
        if any(network.version == version for network in node.pod_cidrs):
            return ""
    return f" No node of the cluster has an {family} address or pod range."


def _evidence(view: View, service: Service) -> tuple[Evidence, ...]:
    texts = [
        f"{item.meta.key}: {item.address_type}, {len(item.endpoints)} endpoint{'' if len(item.endpoints) == 1 else 's'}"
        for item in sorted(view.cluster.slices_by_service.get(service.key, ()), key=lambda item: item.meta.key)
    ]
    families = ", ".join(str(address) for address in service.cluster_ips)
    return (
        *from_api(view.cluster, "services", f"{service.key}: clusterIPs {families}"),
        *(line for text in texts[:6] for line in from_api(view.cluster, "endpointslices", text)),
    )


CHECK = Check(
    code="KD308",
    slug="family-mismatch",
    title="The Service has an address of a family without endpoints",
    severity=Severity.WARNING,
    explanation="""\
A dual-stack Service has an IPv4 and an IPv6 cluster IP, and each is served by endpoints of its own family only. If the
pods have addresses of one family, or if somebody wrote slices for one family, the other address leads nowhere. The same
happens to a single-stack Service whose pods have addresses of the other family only.

**What it does to traffic.** kube-proxy refuses connections to the address of that family. Clients that try the other
family next are only slowed down.

**How it is found.** Per Service port and family, from the EndpointSlices. A Service that asks for `RequireDualStack` is a
warning, any other dual-stack Service is worth knowing (info): `PreferDualStack` promises nothing. A Service that is left
without any endpoint this way is a warning.

**What is left alone.** Headless Services: their names resolve to what there is. External and load-balancer addresses of a
family that the Service does not have: kube-proxy does not program those.
""",
    hint="Give the pods addresses of both families, or set the Service to the family that its pods have.",
    run=run,
)
