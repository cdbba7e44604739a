"""The frontends that table kube-proxy serves, found in the maps in which it looks addresses up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kdiag.model import nft
from kdiag.model.addresses import Address, Protocol, parse_address
from kdiag.model.dataplane import Behaviour, Frontend, FrontendKind, Position, ServicePortKey
from kdiag.model.objects import ObjectKey
from kdiag.walk.network import NodeNetwork

ADDRESS_MAPS = ("service-ips", "no-endpoint-services")
PORT_MAPS = ("service-nodeports", "no-endpoint-nodeports")
REFUSING = "reject-chain"
# `service-NWBZK7IH-kube-system/kube-dns/tcp/dns-tcp` (servicePortChainNameBase of pkg/proxy/nftables/proxier.go).
_CHAIN = re.compile(r"(service|local|external|firewall)-[A-Z2-7]{8}-([^/]+)/([^/]+)/(tcp|udp|sctp)/(.*)")


def service_port_of_chain(name: str | None) -> ServicePortKey | None:
    """The Service port that a chain is called after."""
    found = _CHAIN.fullmatch(name or "")
    if found is None:
        return None
    return ServicePortKey(
        service=ObjectKey(namespace=found[2], name=found[3]), port_name=found[5], protocol=Protocol(found[4].upper())
    )


def unexpected_frontends(
    table: nft.NftTable,
    expected: Mapping[Frontend, Behaviour],
    network: NodeNetwork,
    known_node_ports: frozenset[tuple[Protocol, int]],
) -> dict[Frontend, ServicePortKey | None]:
    """Frontends that the maps serve and nobody expects, with the Service port that each once belonged to.

    `known_node_ports` belong to Services that are not expected on this node: the maps name them all the same.
    """
    known = {(frontend.address, frontend.protocol, frontend.port) for frontend in expected}
    node_ports = known_node_ports | {
        (frontend.protocol, frontend.port) for frontend in expected if frontend.kind is FrontendKind.NODE_PORT
    }
    opened = _node_port_address(table, network)
    refused_anyway = _refused_anyway(table) & {frontend.address for frontend in expected}
    found: dict[Frontend, ServicePortKey | None] = {}
    for address, protocol, number, verdict in _elements(table):
        if address is None:
            if (protocol, number) in node_ports or opened is None:
                continue
            address, kind = opened, FrontendKind.NODE_PORT
        elif (address, protocol, number) in known or (verdict.chain == REFUSING and address in refused_anyway):
            continue
        else:
            external = verdict.chain is not None and verdict.chain.startswith("external-")
            kind = FrontendKind.EXTERNAL_IP if external else FrontendKind.CLUSTER_IP
        for position in Position:
            frontend = Frontend(address=address, protocol=protocol, port=number, kind=kind, position=position)
            found.setdefault(frontend, service_port_of_chain(verdict.chain))
    return found


def _node_port_address(table: nft.NftTable, network: NodeNetwork) -> Address | None:
    """An address of the node at which NodePorts are open: one of set `nodeport-ips`, any if that names none."""
    named = table.sets.get("nodeport-ips")
    for key, _ in named.elements if named else ():
        address = parse_address(str(key.value)) if isinstance(key, nft.Value) else None
        if address is not None and address in network.own:
            return address
    return network.own.first() if network.own else None


def _refused_anyway(table: nft.NftTable) -> frozenset[Address]:
    """The ClusterIPs of which every port is refused that nothing serves: refusing one of them by name changes nothing."""
    check, held = table.chains.get("cluster-ips-check"), table.sets.get("cluster-ips")
    if check is None or not check.rules or held is None:
        return frozenset()
    found = (parse_address(str(key.value)) for key, _ in held.elements if isinstance(key, nft.Value))
    return frozenset(address for address in found if address is not None)


def _elements(table: nft.NftTable) -> Iterator[tuple[Address | None, Protocol, int, nft.Verdict]]:
    for names, parts in ((ADDRESS_MAPS, 3), (PORT_MAPS, 2)):
        for name in names:
            found = table.sets.get(name)
            for key, held in found.elements if found else ():
                if not isinstance(key, nft.Concat) or len(key.parts) != parts or not isinstance(held, nft.Verdict):
                    continue
                words = [part.value if isinstance(part, nft.Value) else None for part in key.parts]
                address = parse_address(str(words[0])) if parts == 3 else None
                protocol = _protocol(words[-2])
                if protocol is not None and isinstance(words[-1], int) and (parts == 2 or address is not None):
                    yield address, protocol, words[-1], held


def _protocol(word: str | int | None) -> Protocol | None:
    try:
        return Protocol(str(word).upper())
    except ValueError:
        return None
