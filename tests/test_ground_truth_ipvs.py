"""Where packets really went in IPVS mode, on sound nodes and on broken ones, and where the walker says they go."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from kdiag.model.addresses import AddressSet, Protocol, parse_address
from kdiag.model.dataplane import ClientSet, Disposition, Frontend, FrontendKind, Masquerade, Position
from kdiag.model.view import View
from kdiag.pipeline.viewing import build_view
from kdiag.pipeline.walking import ends, network_of
from tests.corpus_fixtures import FAULTS_IPVS, NO_FAULTS_IPVS, cluster, fault, fault_description
from tests.test_ground_truth import CLIENT_ADDRESSES, _same_proportions

# The pods with a listener: on this port only, and also after their objects were deleted.
LISTENS_AT = 80


def _rows() -> list[Any]:
    return [
        pytest.param(name, row, id=f"{name}-{row['client']}-{row['target']}")
        for name in (*NO_FAULTS_IPVS, *FAULTS_IPVS)
        for row in fault_description(name).get("ground_truth_connections", ())
    ]


@cache
def _view(name: str) -> View:
    return build_view(fault(name))[0]


@cache
def _pods() -> dict[str, str]:
    found = build_view(cluster("v1.36.2-ipvs-nft"))[0].cluster.pods_by_address
    return {str(address): pods[0].key.name for address, pods in found.items()}


def test_rows_were_measured_on_most_faults() -> None:
    assert len(_rows()) == 22


@pytest.mark.parametrize(("name", "row"), _rows())
def test_the_walk_predicts_what_real_packets_did(name: str, row: Mapping[str, Any]) -> None:
    kind, _, client = str(row["client"]).partition(":")
    node_name = client.partition("@")[2] or client
    target, _, port_text = str(row["target"]).rpartition(":")
    address = parse_address(target)
    assert address is not None
    view = _view(name)
    node = view.node_by_name[node_name]
    network = network_of(view, node, address)
    position = Position.NODE if kind == "node" else Position.POD
    if position is Position.POD:
        source = parse_address(CLIENT_ADDRESSES[client.partition("@")[0]])
        interfaces = frozenset({"cni0"})
    else:
        # To an address that it has itself the node sends from that address.
        source = network.source_for(address)
        interfaces = frozenset({"lo"})
    assert source is not None
    holder = next((item for item in view.nodes if address in network_of(view, item, address).own), node)
    if address not in network.local and holder is not node:
        # The rules of the node that has the address are met.
        node, network = holder, network_of(view, holder, address)
        position, interfaces = Position.EXTERNAL, frozenset({"eth0"})
    clients = (ClientSet(addresses=AddressSet.of(network.family, (source,)), interfaces=interfaces),)
    frontend = Frontend(
        address=address, protocol=Protocol.TCP, port=int(port_text), kind=FrontendKind.CLUSTER_IP, position=position
    )
    answered: dict[str, float] = {}
    seen: dict[str, float] = {}
    lost = 0.0
    refused = 0.0
    for leaf in ends(node, network, frontend, clients):
        fate = leaf.fate
        assert not leaf.assumptions
        backend = fate.backend
        if fate.disposition is not Disposition.BACKEND or backend is None or backend.port != LISTENS_AT:
            # Where the address is the node's own and nothing listens, the node refuses.
            passed_on = fate.disposition is Disposition.UNTRANSLATED and address not in network.local
            refused += 0.0 if passed_on else leaf.weight
            continue
        route = network.route(int(backend.address))
        here = route is not None and route.interface == "cni0"
        from_service_address = fate.masquerade is Masquerade.NO and source == address
        if from_service_address and not here:
            # The other node has that address too, and keeps the answer.
            lost += leaf.weight
            continue
        visible = network.source_for(backend.address) if fate.masquerade is not Masquerade.NO else source
        answered[_pods()[str(backend.address)]] = answered.get(_pods()[str(backend.address)], 0.0) + leaf.weight
        seen[str(visible)] = seen.get(str(visible), 0.0) + leaf.weight
    total = int(row["connections"])
    assert set(row["answered_by"]) == set(answered)
    assert set(row["source_ip_seen_by_pod"]) == set(seen)
    _same_proportions(answered, row["answered_by"], total)
    _same_proportions(seen, row["source_ip_seen_by_pod"], total)
    assert sum(row["errors"].values()) == round(total * (1 - sum(answered.values())))
    if refused:
        assert set(row["errors"]) == {"ConnectionRefusedError:111"}
    elif row["errors"]:
        assert lost > 0 or not answered
        assert set(row["errors"]) == {"TimeoutError"}
