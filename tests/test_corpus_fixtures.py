"""The recordings are there, and the ways to bend them bend just what they say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.corpus_fixtures import (
    FAULTS,
    FAULTS_DUAL,
    FAULTS_IPVS,
    FAULTS_NFTABLES,
    HEALTHY_IPTABLES,
    HEALTHY_OVERLAYS,
    NO_FAULTS_IPVS,
    OTHER_MODES,
    STOCK_GATES,
    cluster,
    fault,
    fault_description,
    ground_truth,
    variant,
    variant_api,
)


@pytest.mark.parametrize("name", [*HEALTHY_IPTABLES, *OTHER_MODES, STOCK_GATES])
def test_a_cluster_has_what_checks_need(name: str) -> None:
    for node, probes in cluster(name).nodes.items():
        assert {"iptables-save", "ip6tables-save", "kube-proxy", "configz", "ip-addr", "proxyMode"} <= set(probes), node


@pytest.mark.parametrize("name", [*FAULTS, *FAULTS_DUAL, *HEALTHY_OVERLAYS])
def test_a_fault_differs_from_its_base_on_the_node_that_it_names(name: str) -> None:
    description = fault_description(name)
    base = cluster("dual-v1.36.2-iptables-nft" if name in FAULTS_DUAL else "v1.20.2-iptables-nft")
    node = description.get("faulty_node", "node01")
    snapshot = fault(name)
    assert set(snapshot.nodes) == set(base.nodes)
    assert set(base.nodes[node]) <= set(snapshot.nodes[node])
    assert snapshot.nodes[node]["iptables-save"] != base.nodes[node]["iptables-save"]
    assert snapshot.gaps == ()


@pytest.mark.parametrize("name", [*FAULTS_IPVS, *NO_FAULTS_IPVS, *FAULTS_NFTABLES])
def test_a_fault_of_another_mode_differs_from_its_base(name: str) -> None:
    description = fault_description(name)
    base = cluster(description["base"])
    node = description["faulty_node"]
    snapshot = fault(name)
    assert set(snapshot.nodes) == set(base.nodes)
    assert set(base.nodes[node]) <= set(snapshot.nodes[node])
    assert snapshot.nodes[node] != base.nodes[node]
    assert (snapshot.api == base.api) is (name not in WITH_OTHER_API)


WITH_OTHER_API = (
    "all-virtual-servers-cleared",
    "mode-switch-leftovers",
    "nothing-programmed",
    "stale-real-server",
    "weight0-graceful-termination",
)


def test_a_fault_may_go_on_from_another() -> None:
    cleared, stale = fault("all-virtual-servers-cleared"), fault("stale-real-server")
    assert cleared.api == stale.api
    assert cleared.nodes["node02"] == stale.nodes["node02"]
    assert cleared.nodes["node01"]["ipvsadm-save-n"].content == b""


def test_a_fault_may_lie_over_a_fault() -> None:
    split, stale = fault("h-split-brain"), fault("a-stale-node")
    assert split.nodes["node01"] == stale.nodes["node01"]
    assert "iptables-legacy-save" in split.nodes["node02"]
    assert "iptables-legacy-save" not in stale.nodes["node02"]


def test_ground_truth() -> None:
    assert ground_truth("v1.20.2-iptables-nft")["results"]


def test_a_variant_changes_one_text() -> None:
    base = cluster("v1.30.3-iptables-nft")
    bent = variant(base, node="node01", probe="proxyMode", edit=lambda text: text + "!")
    assert bent.nodes["node01"]["proxyMode"].text() == base.nodes["node01"]["proxyMode"].text() + "!"
    assert bent.nodes["node02"] == base.nodes["node02"]
    assert bent.api == base.api
    with pytest.raises(AssertionError, match="changed nothing"):
        variant(base, node="node01", probe="proxyMode", edit=str)


def test_a_variant_of_the_api_changes_one_list() -> None:
    base = cluster("v1.30.3-iptables-nft")

    def empty(listed: dict[str, Any]) -> None:
        listed["items"] = []

    bent = variant_api(base, "pods", empty)
    assert b'"items": []' in bent.api["pods"].content
    assert bent.api["services"] == base.api["services"]
    with pytest.raises(AssertionError, match="changed nothing"):
        variant_api(base, "pods", lambda listed: None)
