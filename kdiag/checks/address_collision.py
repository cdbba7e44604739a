"""KD111: two Services claim one address, or a Service claims an address of something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from kdiag.checks.addressing import allocated_services, listed, node_addresses, running_pods
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import is_served
from kdiag.checks.vital_addresses import vital_addresses
from kdiag.model.addresses import Address, Protocol, SocketAddress, family_of
from kdiag.model.cluster import ClusterState, Service, ServicePort
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

_KUBELET_PORTS = frozenset({22, 10250})
"""Ports that are vital on every node: SSH and the kubelet."""


class _Claim(Struct, frozen=True, kw_only=True):
    """One Service that claims something, and by which field."""

    service: Service
    field: str
    port: ServicePort | None = None

    def __str__(self) -> str:
        where = f" port {self.port.label}" if self.port is not None else ""
        return f"{self.service.key}{where} ({self.field})"


def run(view: View) -> Iterable[Finding]:
    """One finding per contested address."""
    yield from _cluster_ips(view)
    yield from _node_ports(view)
    yield from _shared_external(view)
    yield from _captured(view)


def _served(state: ClusterState) -> list[Service]:
    """Services that kube-proxy programs (not headless ones, whatever else they state)."""
    return sorted((item for item in state.services if is_served(item) and item.cluster_ips), key=lambda item: item.key)


def external_addresses(service: Service) -> Iterator[tuple[str, Address]]:
    """The external and load-balancer addresses that kube-proxy programs, with the field that names them.

    Not those of a load balancer that is a proxy itself (ipMode Proxy, 1.29 and later), nor any of a family that the
    Service has no cluster IP of.
    """
    families = {family_of(address) for address in service.cluster_ips}
    for address in dict.fromkeys(service.external_ips):
        if family_of(address) in families:
            yield "externalIPs", address
    if service.type == "LoadBalancer":
        for entry in service.ingress:
            if entry.ip is None or entry.ip_mode == "Proxy" or entry.ip in service.external_ips:
                continue
            if family_of(entry.ip) in families:
                yield "load balancer", entry.ip


def _cluster_ip_claims(state: ClusterState) -> Mapping[Address, list[_Claim]]:
    """Who claims each cluster IP that more than one Service has."""
    owners: dict[Address, list[Service]] = {}
    for service in allocated_services(state):
        for address in dict.fromkeys(service.cluster_ips):
            owners.setdefault(address, []).append(service)
    return {
        address: [_Claim(service=service, field="cluster IP") for service in services]
        for address, services in owners.items()
        if len(services) > 1
    }


def _cluster_ips(view: View) -> Iterator[Finding]:
    before, after = view.of_both(_cluster_ip_claims)
    for address in sorted(after, key=_address_order):
        claims = _in_both(after[address], before.get(address, []))
        if len(claims) > 1:
            yield _contest(view, f"The cluster IP {address}", str(address), claims)


def _node_port_claims(state: ClusterState) -> Mapping[tuple[Protocol, int], list[_Claim]]:
    claims: dict[tuple[Protocol, int], list[_Claim]] = {}
    for service in _served(state):
        for port in service.ports:
            if port.node_port:
                claim = _Claim(service=service, field="node port", port=port)
                claims.setdefault((port.protocol, port.node_port), []).append(claim)
        if service.health_check_node_port:
            claim = _Claim(service=service, field="health check node port")
            claims.setdefault((Protocol.TCP, service.health_check_node_port), []).append(claim)
    return claims


def _node_ports(view: View) -> Iterator[Finding]:
    before, after = view.of_both(_node_port_claims)
    for protocol, port in sorted(after):
        claims = _in_both(after[protocol, port], before.get((protocol, port), []))
        if len(claims) > 1:
            yield _contest(view, f"The node port {port}/{protocol}", f"{port}/{protocol}", claims)


_External = tuple[Address, Protocol, int]


def _external_claims(state: ClusterState) -> Mapping[_External, list[_Claim]]:
    claims: dict[_External, list[_Claim]] = {}
    for service in _served(state):
        for field, address in external_addresses(service):
            for port in service.ports:
                claim = _Claim(service=service, field=field, port=port)
                claims.setdefault((address, port.protocol, port.port), []).append(claim)
    return claims


def _shared_external(view: View) -> Iterator[Finding]:
    before, after = view.of_both(_external_claims)
    for key in sorted(after, key=lambda item: (_address_order(item[0]), item[1], item[2])):
        claims = _in_both(after[key], before.get(key, []))
        if len({claim.service.key for claim in claims}) > 1:
            frontend = f"{SocketAddress(key[0], key[2])}/{key[1]}"
            yield _contest(view, f"The external address {frontend}", frontend, claims)


def _in_both(after: Iterable[_Claim], before: Iterable[_Claim]) -> list[_Claim]:
    """Claims that stood in both readings: an address may pass from a deleted Service to a new one in between."""
    known = {claim.service.key for claim in before}
    return [claim for claim in after if claim.service.key in known]


def _contest(view: View, subject: str, frontend: str, claims: list[_Claim]) -> Finding:
    return CHECK.finding(
        title=f"{subject.removeprefix('The ').capitalize()} belongs to more than one Service",
        frontend=frontend,
        expected="one Service",
        actual=listed(map(str, claims)),
        message=(
            f"{subject} is claimed by {listed(map(str, claims))}. kube-proxy programs one of them, or the rules of one hide those "
            "of the other; which one it is can differ between nodes."
        ),
        affected=[_affected(claim) for claim in claims],
        evidence=[item for claim in claims for item in from_api(view.cluster, "services", f"{claim}: {frontend}")],
    )


def _affected(claim: _Claim) -> Affected:
    return Affected(service=str(claim.service.key), port=claim.port.label if claim.port is not None else None)


def _captured(view: View) -> Iterator[Finding]:
    """External addresses that something else has: a node, a pod, the cluster IP of another Service."""
    state = view.cluster
    nodes = {address: node.name for node in state.nodes for _, address in node_addresses(node)}
    pods = {address: pod.key for pod in running_pods(state) for address in pod.ips}
    cluster_ips = {address: service.key for service in allocated_services(state) for address in service.cluster_ips}
    # A resolver may well be a Service of the cluster: only of one that is not there yet can it be told that it is not.
    planned = {service.key for service in view.plan.services} if view.plan is not None else set()
    vital = {item.address: item for item in vital_addresses(view)} if planned else {}
    claims: dict[Address, list[_Claim]] = {}
    for service in _served(state):
        for field, address in external_addresses(service):
            claims.setdefault(address, []).append(_Claim(service=service, field=field))
    for address in sorted(claims, key=_address_order):
        owner = cluster_ips.get(address)
        others = [claim for claim in claims[address] if claim.service.key != owner]
        if owner is not None and others:
            yield _capture(view, address, f"the cluster IP of {owner}", others, Severity.ERROR)
        elif address in pods:
            yield _capture(view, address, f"the address of pod {pods[address]}", claims[address], Severity.ERROR)
        elif address in nodes:
            yield from _captured_node(view, address, nodes[address], claims[address])
        elif address in vital:
            stated = [
                claim for claim in claims[address] if claim.field == "externalIPs" and claim.service.key in planned
            ]
            needed = _on_ports(stated, vital[address].ports)
            if needed:
                yield _capture(view, address, f"the address of {vital[address].owner}", needed, Severity.ERROR)


def _on_ports(claims: list[_Claim], ports: frozenset[int]) -> list[_Claim]:
    """The claims, port by port, for those of these ports that they take."""
    return [
        _Claim(service=claim.service, field=claim.field, port=port)
        for claim in claims
        for port in claim.service.ports
        if port.port in ports
    ]


def _captured_node(view: View, address: Address, node: str, claims: list[_Claim]) -> Iterator[Finding]:
    """A node's address as an external address is common and meant; what must not be taken is a port the node needs."""
    vital = _api_ports(view.cluster, address) | _KUBELET_PORTS
    seized: list[_Claim] = []
    for claim in claims:
        for port in claim.service.ports:
            behind = _endpoint_sockets(view.cluster, claim.service.key)
            if port.protocol is Protocol.TCP and port.port in vital and (address, port.port) not in behind:
                seized.append(_Claim(service=claim.service, field=claim.field, port=port))
    stated = [claim for claim in claims if claim.field == "externalIPs"]
    if seized:
        yield _capture(
            view, address, f"the address of node {node}, which serves itself on that port", seized, Severity.ERROR
        )
    elif stated:
        yield _capture(view, address, f"the address of node {node}", stated, Severity.INFO)


def _api_ports(state: ClusterState, address: Address) -> frozenset[int]:
    """Ports that the API server listens on at this address, by the endpoints of default/kubernetes."""
    key = ObjectKey(namespace="default", name="kubernetes")
    return frozenset(port for found, port in _endpoint_sockets(state, key) if found == address)


def _endpoint_sockets(state: ClusterState, service: ObjectKey) -> frozenset[tuple[Address, int]]:
    return frozenset(
        (endpoint.address, port.port)
        for item in state.slices_by_service.get(service, ())
        for endpoint in item.endpoints
        for port in item.ports
        if port.port is not None
    )


def _capture(view: View, address: Address, whose: str, claims: list[_Claim], severity: Severity) -> Finding:
    names = listed(str(claim) for claim in claims)
    keys = {str(claim.service.key) for claim in claims}
    ports = {claim.port.label for claim in claims if claim.port is not None}
    effect = (
        "Its own ports are reached as before, but for those of the Service, which every node now sends to the Service's endpoints."
        if severity is Severity.INFO
        else "Every node sends packets for the Service's ports of that address to the Service's endpoints, whoever they were meant for."
    )
    return CHECK.finding(
        severity=severity,
        title="A Service claims an address that something else has",
        service=keys.pop() if len(keys) == 1 else None,
        port=ports.pop() if len(ports) == 1 else None,
        frontend=str(address),
        expected="an address that is routed to the nodes for Services alone",
        actual=f"{address} is {whose}",
        message=f"{address} is {whose}, and is claimed by {names}. {effect}",
        affected=[_affected(claim) for claim in claims],
        evidence=[item for claim in claims for item in from_api(view.cluster, "services", f"{claim}: {address}")],
    )


def _address_order(address: Address) -> tuple[int, int]:
    return address.version, int(address)


CHECK = Check(
    code="KD111",
    slug="address-collision",
    title="An address has more than one owner",
    severity=Severity.ERROR,
    explanation="""\
The API server sees to it that no two Services get one cluster IP or node port. It can fail: with API servers that allocate from
different ranges, after a backup was restored, in a race on old releases. External addresses nobody checks at all.

**What it does to traffic.** Of two Services with one address and port one gets all the traffic, and not the same one on every
node. An external address that belongs to a pod, to the cluster IP of another Service, or to a vital port of a node is taken
away from its owner on every node of the cluster (CVE-2020-8554 is this on purpose).

**How it is found.** Cluster IPs, node ports with their protocol (health check node ports too) and external addresses with port
and protocol are compared among Services; they must collide in both readings of the API. External and load-balancer
addresses are compared with the addresses of running pods, other Services' cluster IPs, and nodes. On a node the API
server's port, the kubelet's and SSH must stay free (an *error*); another port of a node's address in `externalIPs` is *info*.
Manifests (`preflight -f`) must keep off the API servers' own addresses, where they are no nodes, and the resolvers that kubelets
and CoreDNS were told of, at their ports.

**What is left alone.** One number for TCP and UDP; Services that share an external address on different ports; a load balancer
that reports node addresses (k3s' ServiceLB, Cilium's node IPAM); `ipMode: Proxy`; Services that are left to another proxy; a
Service whose endpoint is that very address and port.
""",
    hint="Take the address away from one of them: change spec.externalIPs, or delete the younger Service and create it anew.",
    run=run,
)
