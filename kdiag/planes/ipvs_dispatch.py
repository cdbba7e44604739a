"""The frontends that virtual servers serve, told apart by where their addresses stand."""

from __future__ import annotations

from collections.abc import Mapping

from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Behaviour, Frontend, FrontendKind, Position, ServicePortKey
from kdiag.model.ipvs import VirtualServer
from kdiag.planes.interface import NodeEvidence
from kdiag.walk.network import IPVS_DEVICE, NodeNetwork

DEFAULT_NODE_PORTS = range(30000, 32768)


def unexpected_frontends(
    evidence: NodeEvidence,
    expected: Mapping[Frontend, Behaviour],
    network: NodeNetwork,
    known_node_ports: frozenset[tuple[Protocol, int]],
) -> dict[Frontend, ServicePortKey | None]:
    """Virtual servers that no Service asks for. Which one they once belonged to nothing tells: sets and servers hold
    addresses only.

    One at an address of the node itself is a NodePort: open at any of them where some Service has it
    (`known_node_ports`; which addresses are open differs between releases and settings). Virtual servers at addresses that
    kube-proxy never took are somebody else's (keepalived's, kept by `ipvs.excludeCIDRs`).
    """
    on_device = {item.address for item in evidence.host.addresses or () if item.interface == IPVS_DEVICE}
    known = {(frontend.address, frontend.protocol, frontend.port) for frontend in expected}
    node_ports = known_node_ports | {
        (frontend.protocol, frontend.port) for frontend in expected if frontend.kind is FrontendKind.NODE_PORT
    }
    found: dict[Frontend, ServicePortKey | None] = {}
    for server in evidence.ipvs.servers if evidence.ipvs else ():
        if server.address is None or server.protocol is None or server.family is not network.family:
            continue
        if (server.address, server.protocol, server.port) in known:
            continue
        own = server.address in network.own or server.address.is_loopback
        if own and ((server.protocol, server.port) in node_ports or not _was_node_port(evidence, server)):
            continue
        if not own and server.address not in on_device:
            continue
        kind = FrontendKind.NODE_PORT if own else FrontendKind.CLUSTER_IP
        for position in Position:
            if server.address.is_loopback and position is not Position.NODE:
                continue
            frontend = Frontend(
                address=server.address, protocol=server.protocol, port=server.port, kind=kind, position=position
            )
            found[frontend] = None
    return found


def _was_node_port(evidence: NodeEvidence, server: VirtualServer) -> bool:
    """True if a virtual server at the node's own address is kube-proxy's: its set of NodePorts names the port."""
    infix = "6-" if server.family is Family.IPV6 else ""
    name = f"KUBE-{infix}NODE-PORT-{server.protocol}"
    ports = (evidence.ipsets or {}).get(f"{name}-HASH" if server.protocol is Protocol.SCTP else name)
    if ports is None:
        return server.port in DEFAULT_NODE_PORTS
    if server.protocol is Protocol.SCTP:
        return any(member.endswith(f":{server.port}") for member in ports.members)
    return str(server.port) in ports.members
