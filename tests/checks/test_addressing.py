"""What the checks of address ranges share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.checks.addressing import (
    contains,
    describe_fact,
    is_virtual,
    judged_nodes,
    listed,
    outermost,
    overlap,
    pods_outside_cluster_cidr,
    pods_share_node_network,
    running_pods,
    service_range_facts,
    uses_node_ranges,
)
from kdiag.model.addresses import Family, parse_network
from kdiag.model.facts import FactKind, Facts
from kdiag.model.host import HostFacts, InterfaceAddress
from kdiag.model.proxy import DetectLocalMode, ProxyConfig
from kdiag.model.view import NodeView
from tests.checks.builders import (
    NOW,
    address,
    cluster,
    config_map,
    daemon_set,
    fact,
    network,
    node,
    node_view,
    pod,
    view,
)

V4 = st.builds(
    lambda value, length: parse_network(f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}/{length}"),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(V4, V4)
def test_containment_agrees_with_the_library(left: object, right: object) -> None:
    assert left is not None
    assert right is not None
    assert contains(left, right) == right.subnet_of(left)  # type: ignore[arg-type, attr-defined]
    assert (overlap(left, right) is not None) == left.overlaps(right)  # type: ignore[arg-type, attr-defined]


def test_families_never_overlap() -> None:
    assert overlap(network("0.0.0.0/0"), network("::/0")) is None


def test_outermost() -> None:
    nested = [network(text) for text in ("10.1.0.0/16", "10.0.0.0/8", "fd00::/64", "10.0.0.0/8", "11.0.0.0/8")]
    assert [str(item) for item in outermost(nested)] == ["10.0.0.0/8", "11.0.0.0/8", "fd00::/64"]


def test_who_is_believed_about_the_service_range() -> None:
    server = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12")
    k3s = fact(FactKind.SERVICE_RANGE, "10.43.0.0/16", component="k3s server")
    object_fact = fact(FactKind.SERVICE_RANGE, "10.97.0.0/16", component="ServiceCIDR extra")
    controllers = fact(FactKind.SERVICE_RANGE, "10.98.0.0/16", component="kube-controller-manager")
    kubeadm = fact(FactKind.SERVICE_RANGE, "10.99.0.0/16", component="kubeadm")
    assert service_range_facts(Facts(facts=(server, k3s, object_fact, controllers, kubeadm))) == (
        server,
        k3s,
        object_fact,
    )
    assert service_range_facts(Facts(facts=(controllers, kubeadm))) == (controllers,)
    assert service_range_facts(Facts(facts=(kubeadm,))) == (kubeadm,)
    assert service_range_facts(Facts()) == ()


def test_facts_in_words() -> None:
    assert (
        describe_fact(fact(FactKind.POD_RANGE, "10.0.0.0/8", component="kubeadm", flag="x.podSubnet"))
        == "kubeadm x.podSubnet: 10.0.0.0/8"
    )
    assert (
        describe_fact(fact(FactKind.SERVICE_RANGE, "10.0.0.0/24", node="cp", flag="default"))
        == "kube-apiserver on cp: 10.0.0.0/24 (default)"
    )
    own = fact(FactKind.NODE_POD_RANGE, "10.0.0.0/24", component="Node cp", node="cp", flag="spec.podCIDRs")
    assert describe_fact(own) == "Node cp spec.podCIDRs: 10.0.0.0/24"


def test_nodes_and_pods_that_count() -> None:
    tainted = node("c", labels={"eks.amazonaws.com/compute-type": "fargate"})
    state = cluster(node("b"), node("a"), node("w", os="windows"), tainted)
    assert [item.name for item in judged_nodes(state)] == ["a", "b"]
    assert is_virtual(tainted)
    pods = cluster(
        pod("run"),
        pod("host", host_network=True),
        pod("done", phase="Succeeded"),
        pod("going", deleted_at=NOW),
        pod("new", ips=[]),
    )
    assert [item.key.name for item in running_pods(pods)] == ["run"]


def placed(inside: int, outside: int, *extra: object) -> bool:
    pods = [pod(f"i{number}", ips=[f"10.244.1.{number + 1}"]) for number in range(inside)]
    pods += [pod(f"o{number}", ips=[f"10.9.1.{number + 1}"]) for number in range(outside)]
    pods.append(pod("elsewhere", ips=["10.9.9.9"], node="gone"))
    return uses_node_ranges(cluster(node(pod_cidrs=["10.244.1.0/24"]), pods, *extra))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inside", "outside", "expected"), [(5, 0, True), (8, 2, True), (4, 0, False), (7, 3, False), (0, 0, False)]
)
def test_an_unknown_cni_must_show_that_it_uses_node_ranges(inside: int, outside: int, expected: bool) -> None:
    assert placed(inside, outside) is expected


def test_a_known_cni_is_believed_unless_the_pods_speak_against_it() -> None:
    flannel = daemon_set("kube-system/kube-flannel-ds")
    assert placed(0, 1, flannel)
    assert placed(5, 5, flannel)
    assert not placed(4, 6, flannel)
    assert not placed(9, 0, daemon_set("kube-system/calico-node"))


def standing(name: str, text: str, length: int) -> NodeView:
    item = InterfaceAddress(interface="eth0", address=address(text), prefix_length=length)
    return node_view(name, api_node=node(name, addresses=[text]), host=HostFacts(addresses=(item,)))


def test_pods_in_the_network_of_the_nodes() -> None:
    own = node("a", addresses=["10.0.0.1"])
    inside, outside = pod(ips=["10.0.0.9"], node="a"), pod(ips=["10.1.0.9"], node="a")
    assert pods_share_node_network(view(cluster(own, inside), nodes=[standing("a", "10.0.0.1", 24)]))
    assert not pods_share_node_network(view(cluster(own, outside), nodes=[standing("a", "10.0.0.1", 24)]))
    assert not pods_share_node_network(view(cluster(own, inside), nodes=[standing("a", "10.0.0.1", 32)]))
    unknown = NodeView(name="a", host=standing("a", "10.0.0.1", 24).host)
    assert not pods_share_node_network(view(cluster(inside), nodes=[unknown]))


def test_cluster_cidr_without_pods() -> None:
    config = ProxyConfig(source="s", cluster_cidrs=(network("10.99.0.0/16"),))
    state = cluster(pod(ips=["10.244.1.5"]))
    assert pods_outside_cluster_cidr(view(state, cluster_config=config)) == {Family.IPV4: network("10.99.0.0/16")}
    assert pods_outside_cluster_cidr(view(state)) == {}
    assert pods_outside_cluster_cidr(view(cluster(), cluster_config=config)) == {}
    bridge = ProxyConfig(
        source="s", cluster_cidrs=config.cluster_cidrs, detect_local_mode=DetectLocalMode.BRIDGE_INTERFACE
    )
    assert pods_outside_cluster_cidr(view(state, cluster_config=bridge)) == {}
    cilium = cluster(pod(ips=["10.244.1.5"]), daemon_set("kube-system/cilium"), config_map("kube-system/x", {}))
    assert pods_outside_cluster_cidr(view(cilium, cluster_config=config)) == {}


def test_lists_are_short_and_without_repeats() -> None:
    assert listed(["a", "b", "a"]) == "a, b"
    assert listed("abcdefg", 2) == "a, b and 5 more"
