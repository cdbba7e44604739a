"""The checks of address ranges on recordings of real clusters: silent on healthy ones, and plain on bent ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kdiag.checks import (
    address_collision,
    cluster_cidr_wrong,
    cluster_dns_mismatch,
    cluster_ip_outside_range,
    duplicate_pod_ip,
    node_port_outside_range,
    node_without_pod_cidr,
    pod_cidr_collision,
    pod_ip_outside_range,
    range_nearly_full,
    range_overlap,
    settings_disagree,
)
from kdiag.model.report import Severity
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import NodeView, View
from kdiag.parse.api import parse_cluster
from kdiag.parse.facts import collect_facts
from kdiag.parse.host import parse_host
from kdiag.parse.proxy_config import cluster_proxy_config, effective_config, proxy_configs_of_node
from tests.corpus_fixtures import (
    FAULTS,
    FAULTS_DUAL,
    HEALTHY_IPTABLES,
    HEALTHY_OVERLAYS,
    OTHER_MODES,
    cluster,
    fault,
    variant,
    variant_api,
)

CHECKS = tuple(
    module.CHECK
    for module in (
        range_overlap,
        cluster_ip_outside_range,
        pod_ip_outside_range,
        node_without_pod_cidr,
        pod_cidr_collision,
        duplicate_pod_ip,
        cluster_cidr_wrong,
        settings_disagree,
        range_nearly_full,
        cluster_dns_mismatch,
        address_collision,
        node_port_outside_range,
    )
)

BASE = "v1.36.2-iptables-nft"


def view_of(snapshot: Snapshot) -> View:
    """The view without the data planes, which these checks do not look at."""
    state, _ = parse_cluster(snapshot.api)
    hosts = {name: parse_host(probes)[0] for name, probes in snapshot.nodes.items()}
    configs = {
        name: proxy_configs_of_node(name, probes, hosts[name], state)[0] for name, probes in snapshot.nodes.items()
    }
    effective = {name: effective_config(found) for name, found in configs.items()}
    return View(
        name=snapshot.name,
        taken_at=snapshot.taken_at,
        cluster=state,
        before=state,
        facts=collect_facts(state, hosts, configs, snapshot.api),
        nodes=tuple(NodeView(name=name, node=state.node_by_name.get(name), host=hosts[name]) for name in sorted(hosts)),
        cluster_config=cluster_proxy_config(state, effective),
    )


def codes(snapshot: Snapshot) -> list[tuple[str, Severity]]:
    view = view_of(snapshot)
    return [(item.code, item.severity) for check in CHECKS for item in check.run(view)]


@pytest.mark.parametrize("name", [*HEALTHY_IPTABLES, *OTHER_MODES])
def test_healthy_clusters(name: str) -> None:
    assert codes(cluster(name)) == []


@pytest.mark.parametrize("name", [*FAULTS, *FAULTS_DUAL, *HEALTHY_OVERLAYS])
def test_faults_of_rules_are_not_faults_of_ranges(name: str) -> None:
    assert codes(fault(name)) == []


def edit_items(kind: str, name: str, change: Callable[[dict[str, Any]], None]) -> Snapshot:
    def edit(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == name:
                change(item)

    return variant_api(cluster(BASE), kind, edit)


def test_two_pods_with_one_address() -> None:
    def change(item: dict[str, Any]) -> None:
        item["status"]["podIPs"] = [{"ip": "10.244.1.10"}]

    assert codes(edit_items("pods", "three-1", change)) == [("KD106", Severity.ERROR)]


def test_a_pod_of_another_network() -> None:
    def change(item: dict[str, Any]) -> None:
        item["status"]["podIPs"] = [{"ip": "10.88.0.7"}]

    assert codes(edit_items("pods", "three-1", change)) == [("KD103", Severity.WARNING)]


def test_two_nodes_with_one_range() -> None:
    def change(item: dict[str, Any]) -> None:
        item["spec"]["podCIDRs"] = ["10.244.1.0/24"]

    found = codes(edit_items("nodes", "node02", change))
    assert ("KD105", Severity.ERROR) in found


def test_a_cluster_ip_of_nowhere() -> None:
    def change(item: dict[str, Any]) -> None:
        item["spec"]["clusterIP"] = "10.32.0.9"
        item["spec"]["clusterIPs"] = ["10.32.0.9"]

    assert codes(edit_items("services", "three-eps", change)) == [("KD102", Severity.WARNING)]


def test_a_node_port_of_nowhere() -> None:
    def change(item: dict[str, Any]) -> None:
        item["spec"]["ports"][0]["nodePort"] = 20080

    assert codes(edit_items("services", "nodeport-wide", change)) == [("KD112", Severity.WARNING)]


def test_an_api_server_with_another_range() -> None:
    bent = variant(
        cluster(BASE),
        node="controlplane",
        probe="ps-ef",
        edit=lambda text: text.replace(
            "--service-cluster-ip-range=10.96.0.0/12 --tls", "--service-cluster-ip-range=10.32.0.0/24 --tls"
        ),
    )
    assert codes(bent) == [("KD108", Severity.ERROR)]


def test_the_service_range_as_cluster_cidr() -> None:
    def change(item: dict[str, Any]) -> None:
        item["data"]["config.conf"] = item["data"]["config.conf"].replace("10.244.0.0/16", "10.96.0.0/12")

    assert codes(edit_items("kube-system-configmaps", "kube-proxy", change)) == [("KD107", Severity.WARNING)]


def test_a_bridge_inside_the_service_range() -> None:
    bridge = (
        '[{"ifname":"docker0","flags":["BROADCAST","UP","LOWER_UP"],"addr_info":'
        '[{"family":"inet","local":"10.100.0.1","prefixlen":16,"scope":"global"}]},'
    )
    bent = variant(cluster(BASE), node="node01", probe="ip-addr", edit=lambda text: bridge + text[1:])
    assert codes(bent) == [("KD101", Severity.WARNING)]
