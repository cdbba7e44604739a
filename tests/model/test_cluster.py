"""Indexes of what the API gave, against a search through all of it."""

from __future__ import annotations

import pytest

from kdiag.model.addresses import parse_address
from kdiag.model.endpoints import LazyEndpoints
from kdiag.parse.api import parse_cluster
from tests.corpus_fixtures import cluster


@pytest.mark.parametrize("name", ["v1.20.2-iptables-nft", "dual-v1.36.2-iptables-nft"])
def test_the_services_that_list_an_address_are_those_whose_slices_or_endpoints_have_it(name: str) -> None:
    state, _ = parse_cluster(cluster(name).api)
    assert any(isinstance(item.endpoints, LazyEndpoints) for item in state.slices)
    listed = {endpoint.address for item in state.slices for endpoint in item.endpoints}
    unlisted = parse_address("192.0.2.77")
    assert unlisted is not None
    for address in (*listed, unlisted):
        found = {item.service for item in state.slices if item.service is not None and item.holds(address)}
        found |= {item.meta.key for item in state.endpoints if any(entry[0] == address for entry in item.addresses)}
        assert state.services_listing(address) == found
    assert listed
    assert not state.services_listing(unlisted)


def test_an_address_of_a_node_leads_to_the_node() -> None:
    state, _ = parse_cluster(cluster("dual-v1.36.2-iptables-nft").api)
    for node in state.nodes:
        for kind, text in node.addresses:
            address = parse_address(text)
            if kind == "InternalIP":
                assert address is not None
            if address is not None:
                assert state.node_by_address[address] is node
