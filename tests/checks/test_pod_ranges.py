"""KD103 to KD106: pods outside their node's range, nodes without one, ranges and addresses owned twice."""

from __future__ import annotations

from datetime import timedelta

from msgspec import structs

from kdiag.checks import duplicate_pod_ip, node_without_pod_cidr, pod_cidr_collision, pod_ip_outside_range
from kdiag.checks.interface import Check
from kdiag.model.cluster import ClusterState, Node, Pod
from kdiag.model.report import Finding, Severity
from tests.checks.builders import NOW, cluster, daemon_set, node, pod, view

FLANNEL = daemon_set("kube-system/kube-flannel-ds")
CALICO = daemon_set("kube-system/calico-node")


def found(check: Check, state: ClusterState, before: ClusterState | None = None) -> list[Finding]:
    return list(check.run(view(state, before=before)))


def nodes(*ranges: str) -> list[Node]:
    return [
        node(f"node0{number}", pod_cidrs=text.split(",") if text else []) for number, text in enumerate(ranges, start=1)
    ]


TWO = nodes("10.244.1.0/24", "10.244.2.0/24")


def test_a_pod_outside_every_range() -> None:
    (finding,) = found(pod_ip_outside_range.CHECK, cluster(TWO, FLANNEL, pod("ok"), pod("stray", ips=["10.88.0.5"])))
    assert (finding.severity, finding.node) == (Severity.WARNING, "node01")
    assert "default/stray has 10.88.0.5" in finding.message
    assert "default/ok" not in finding.message
    assert finding.evidence[0].source == "cluster/nodes.json"


def test_a_pod_in_the_range_of_another_node() -> None:
    (finding,) = found(pod_ip_outside_range.CHECK, cluster(TWO, FLANNEL, pod("stray", ips=["10.244.2.5"])))
    assert finding.severity is Severity.ERROR
    assert "belongs to node02" in finding.message


def test_pods_that_may_be_elsewhere() -> None:
    stray = pod("stray", ips=["10.88.0.5"])
    annotated = pod("multus", ips=["10.88.0.6"], annotations={"v1.multus-cni.io/default-network": "x"})
    host = pod("host", ips=["192.168.56.11"], host_network=True)
    ended = pod("ended", ips=["10.88.0.7"], phase="Succeeded")
    assert found(pod_ip_outside_range.CHECK, cluster(TWO, CALICO, stray)) == []
    assert found(pod_ip_outside_range.CHECK, cluster(TWO, FLANNEL, annotated, host, ended)) == []
    assert found(pod_ip_outside_range.CHECK, cluster(TWO, stray)) == []


def test_a_node_without_a_range() -> None:
    members = nodes("10.244.1.0/24,fd00:1::/64", "10.244.2.0/24,fd00:2::/64", "10.244.3.0/24")
    (finding,) = found(node_without_pod_cidr.CHECK, cluster(members, FLANNEL))
    assert (finding.severity, finding.node) == (Severity.ERROR, "node03")
    assert finding.expected == "an IPv6 podCIDR, as the other nodes have"
    several = nodes("10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24", "", "")
    (finding,) = found(node_without_pod_cidr.CHECK, cluster(several, FLANNEL))
    assert finding.node is None
    assert [item.node for item in finding.affected] == ["node04", "node05"]


def test_nodes_that_need_no_range() -> None:
    members = nodes("10.244.1.0/24", "10.244.2.0/24", "")
    assert found(node_without_pod_cidr.CHECK, cluster(members, CALICO)) == []
    assert found(node_without_pod_cidr.CHECK, cluster(nodes("10.244.1.0/24", ""), FLANNEL)) == []
    windows = structs.replace(members[2], os="windows")
    assert found(node_without_pod_cidr.CHECK, cluster(members[:2], windows, FLANNEL)) == []
    fresh = structs.replace(members[2], meta=structs.replace(members[2].meta, created_at=NOW - timedelta(seconds=30)))
    assert found(node_without_pod_cidr.CHECK, cluster(members[:2], fresh, FLANNEL)) == []


def test_two_nodes_with_one_range() -> None:
    (finding,) = found(pod_cidr_collision.CHECK, cluster(nodes("10.244.1.0/24", "10.244.1.0/24", "10.244.2.0/24")))
    assert finding.severity is Severity.ERROR
    assert [item.node for item in finding.affected] == ["node01", "node02"]
    (nested,) = found(pod_cidr_collision.CHECK, cluster(nodes("10.244.0.0/16", "10.245.0.0/24", "10.244.9.0/24")))
    assert nested.actual == "10.244.0.0/16 of node01 and 10.244.9.0/24 of node03"


def test_ranges_that_are_apart_or_unused() -> None:
    assert found(pod_cidr_collision.CHECK, cluster(nodes("10.244.1.0/24,fd00::/64", "10.244.2.0/24,fd00:1::/64"))) == []
    assert found(pod_cidr_collision.CHECK, cluster(nodes("10.244.1.0/24", "10.244.1.0/24"), CALICO)) == []
    assert found(pod_cidr_collision.CHECK, cluster(nodes("10.244.1.0/24,10.244.1.0/25"))) == []


def twins(**changes: object) -> list[Pod]:
    return [pod("a"), structs.replace(pod("b", node="node02"), **changes)]


def test_two_pods_with_one_address() -> None:
    (finding,) = found(duplicate_pod_ip.CHECK, cluster(TWO, twins()))
    assert (finding.severity, finding.node) == (Severity.ERROR, None)
    assert finding.actual == "default/a on node01, default/b on node02"
    assert "10.244.1.5" in finding.message
    (same,) = found(duplicate_pod_ip.CHECK, cluster(TWO, twins(node_name="node01")))
    assert same.node == "node01"


def test_addresses_that_only_seem_shared() -> None:
    check = duplicate_pod_ip.CHECK
    assert found(check, cluster(TWO, twins(host_network=True))) == []
    assert found(check, cluster(TWO, twins(phase="Failed"))) == []
    assert found(check, cluster(TWO[0], structs.replace(TWO[1], ready=False), twins())) == []
    assert found(check, cluster(TWO[0], twins())) == []
    # It had passed from one to the other when the second reading was made.
    assert found(check, cluster(TWO, twins()), before=cluster(TWO, pod("a"))) == []
