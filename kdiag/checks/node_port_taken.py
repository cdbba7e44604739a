"""KD408: a process of the node that listens on a node port of a Service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kdiag.checks.evidence import from_host
from kdiag.checks.interface import Check
from kdiag.checks.proxy_release import seen_release
from kdiag.checks.service_endpoints import is_served
from kdiag.model.addresses import Address, parse_address, parse_network
from kdiag.model.cluster import ClusterState, Service, ServicePort
from kdiag.model.host import ListeningSocket
from kdiag.model.proxy import ProxyMode, Version
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import NodeView, View

RELEASES_PORTS: Version = (1, 24)
"""First kube-proxy that does not hold node ports itself (kubernetes PR 108496)."""

HOLDERS = ("kube-proxy", "k3s", "kubelite", "hyperkube", "openshift-sdn", "rke2")
"""Beginnings of the names of processes that are kube-proxy or have it inside."""


def run(view: View) -> Iterable[Finding]:
    """One finding per node and process (or per port, where the process is not known)."""
    allocated = _node_ports(view.cluster)
    # kube-proxy answers the health checks of load balancers itself, on ports of the same range.
    health = {service.health_check_node_port for service in view.cluster.services}
    for node in view.nodes:
        if node.other_proxy is not None or node.mode is ProxyMode.USERSPACE:
            continue
        clashes: dict[tuple[str, str], list[ListeningSocket]] = {}
        for socket in node.host.sockets or ():
            port = (socket.protocol.upper(), socket.port)
            if port in allocated and socket.port not in health and _is_foreign(node, socket):
                # Without a name every port is somebody else's.
                group = (socket.process, "") if socket.process else ("", f"{socket.port}/{port[0]}")
                clashes.setdefault(group, []).append(socket)
        for key in sorted(clashes):
            yield _finding(node, key[0], clashes[key], allocated)


def _node_ports(state: ClusterState) -> Mapping[tuple[str, int], tuple[Service, ServicePort]]:
    return {
        (str(port.protocol), port.node_port): (service, port)
        for service in sorted(state.services, key=lambda item: item.key, reverse=True)
        if is_served(service)
        for port in service.ports
        if port.node_port
    }


def _is_foreign(node: NodeView, socket: ListeningSocket) -> bool:
    """True if the socket is certainly not kube-proxy's and stands where a node port would answer."""
    if socket.process is not None:
        if socket.process.startswith(HOLDERS):
            return False
    else:
        release = seen_release(node)
        if release is None or release < RELEASES_PORTS:
            return False
    return socket.address is None or _has_node_ports(node, socket.address)


def _has_node_ports(node: NodeView, address: Address) -> bool:
    """True if node ports are programmed on this address, as far as the configuration tells."""
    if address.is_loopback:
        return False
    stated = node.config.node_port_addresses if node.config is not None else None
    if not stated:
        stated = ("primary",) if node.mode is ProxyMode.NFTABLES else ("all",)
    if "all" in stated:
        return True
    networks = [parse_network(text) for text in stated]
    if any(item is not None and item.version == address.version and address in item for item in networks):
        return True
    primary = [parse_address(text) for _, text in (node.node.addresses if node.node is not None else ())]
    return "primary" in stated and address in primary


def _finding(
    node: NodeView,
    process: str,
    sockets: list[ListeningSocket],
    allocated: Mapping[tuple[str, int], tuple[Service, ServicePort]],
) -> Finding:
    places: list[Affected] = []
    texts: list[str] = []
    evidence: list[Evidence] = []
    for socket in sorted(sockets, key=lambda item: (item.port, item.protocol, str(item.address))):
        service, port = allocated[socket.protocol.upper(), socket.port]
        text = f"{socket.port}/{socket.protocol.upper()} ({service.key})"
        if text not in texts:
            texts.append(text)
        places.append(Affected(node=node.name, service=str(service.key), port=port.label))
        where = str(socket.address) if socket.address is not None else "*"
        evidence.extend(from_host(node, "sockets", f"{socket.protocol} {where}:{socket.port} {process}".rstrip()))
    who = f"The process {process}" if process else "A process"
    single = places[0] if len({(place.service, place.port) for place in places}) == 1 else None
    return CHECK.finding(
        node=node.name,
        service=single.service if single else None,
        port=single.port if single else None,
        expected="no listener on the node port",
        actual=f"{process or 'a process'} listens on {', '.join(texts[:5])}",
        message=(
            f"{who} on {node.name} listens on {', '.join(texts[:10])}, which {'is a node port' if len(texts) == 1 else 'are node ports'} "
            "of the cluster. kube-proxy's rules take the traffic first: the process is reached no more, or only while the "
            "Service has no rules on the node."
        ),
        hint=f"On {node.name}: ss -ltnup 'sport = :{sockets[0].port}'. Move the process, or give the Service another node port.",
        affected=places,
        evidence=evidence,
    )


CHECK = Check(
    code="KD408",
    slug="node-port-taken",
    title="A process listens on a node port",
    severity=Severity.WARNING,
    explanation="""\
A process of the node listens on a port that the API has given to a Service as node port.

**What it does to traffic.** Packets to the port are translated to the Service's endpoints, or refused if it has none, before
a listening process can see them. The process is cut off, and if somebody expects it there, the wrong program answers.

**How it is found.** The listening TCP sockets and bound UDP sockets of the node are compared with the node ports of all
Services, protocol by protocol.

**What is left alone.** kube-proxy's own sockets: releases up to 1.23 hold every node port, and userspace mode serves them;
where the process of a socket was not recorded, the release decides. Health check node ports, which kube-proxy answers.
Sockets on loopback addresses, and on addresses that `nodePortAddresses` leaves out.
""",
    hint="Move the process to another port, or give the Service another node port.",
    run=run,
    needs_nodes=True,
)
