"""Which CNI a cluster runs, and its pools."""

from __future__ import annotations

import json

import pytest

from kdiag.model.cluster import ConfigMap, DaemonSet, Node, Pod
from kdiag.model.snapshot import Recording
from kdiag.parse.cni import AddressSource, cni_facts, recognise_cni
from tests.checks.builders import cluster, config_map, daemon_set, node, pod


def cilium(**settings: str) -> ConfigMap:
    return config_map("kube-system/cilium-config", {key.replace("_", "-"): value for key, value in settings.items()})


@pytest.mark.parametrize(
    ("items", "product", "addresses"),
    [
        ([], "", AddressSource.UNKNOWN),
        ([node("a", kubelet_version="v1.30.1+k3s1")], "flannel in k3s", AddressSource.NODE_RANGE),
        ([node("a", kubelet_version="v1.30.1+k3s1"), node("b")], "", AddressSource.UNKNOWN),
        ([daemon_set("kube-flannel/kube-flannel-ds")], "flannel", AddressSource.NODE_RANGE),
        ([pod("calico-system/calico-node-x7")], "Calico", AddressSource.OWN_POOL),
        ([pod("default/calico-node-x7")], "", AddressSource.UNKNOWN),
        ([pod("kube-system/canal-1")], "Canal", AddressSource.NODE_RANGE),
        (
            [pod("kube-system/aws-node-1"), pod("kube-system/calico-node-1")],
            "Amazon VPC CNI",
            AddressSource.NODE_NETWORK,
        ),
        ([pod("kube-system/cilium-1")], "Cilium", AddressSource.OWN_POOL),
        ([pod("kube-system/cilium-1"), cilium(ipam="kubernetes")], "Cilium", AddressSource.NODE_RANGE),
        ([pod("kube-system/cilium-1"), cilium(ipam="eni")], "Cilium", AddressSource.NODE_NETWORK),
        ([pod("kube-system/cilium-1"), cilium(ipam="delegated-plugin")], "Cilium", AddressSource.UNKNOWN),
    ],
)
def test_recognised_by_its_traces(
    items: list[Node | DaemonSet | Pod | ConfigMap], product: str, addresses: AddressSource
) -> None:
    found = recognise_cni(cluster(*items))
    assert (found.product, found.addresses) == (product, addresses)


def values(*items: ConfigMap, **recordings: object) -> list[tuple[str, str]]:
    raw = {
        name.replace("_", "-"): Recording(source=name, content=json.dumps(content).encode())
        for name, content in recordings.items()
    }
    return [(fact.component, fact.value) for fact in cni_facts(cluster(*items), raw)]


def test_flannel() -> None:
    text = '{"Network": "10.244.0.0/16", "IPv6Network": "fd00::/56", "EnableIPv6": true}'
    assert values(config_map("kube-flannel/kube-flannel-cfg", {"net-conf.json": text})) == [
        ("flannel", "10.244.0.0/16"),
        ("flannel", "fd00::/56"),
    ]
    assert values(config_map("kube-system/canal-config", {"net-conf.json": '{"Network": "x"}'})) == []
    assert values(config_map("kube-system/canal-config", {"net-conf.json": "["})) == []


def test_cilium_pools() -> None:
    pools = {"cluster_pool_ipv4_cidr": "10.0.0.0/8", "cluster_pool_ipv6_cidr": "fd00::/104"}
    assert values(cilium(ipam="cluster-pool", **pools)) == [("Cilium", "10.0.0.0/8")]
    assert values(cilium(ipam="cluster-pool-v2beta", enable_ipv6="true", **pools)) == [
        ("Cilium", "10.0.0.0/8"),
        ("Cilium", "fd00::/104"),
    ]
    assert values(cilium(ipam="kubernetes", **pools)) == []
    assert values(cilium(ipam="cluster-pool", cluster_pool_ipv4_cidr="x")) == []


def weave(environment: object) -> dict[str, object]:
    containers = [7, {"name": "npc"}, {"name": "weave", "env": environment}]
    return {"items": [{"spec": {"template": {"spec": {"containers": containers}}}}, {"spec": None}]}


def test_weave() -> None:
    stated = [7, {"name": "IPALLOC_RANGE", "value": "10.40.0.0/16"}]
    assert values(kube_system_daemonsets=weave(stated)) == [("Weave Net", "10.40.0.0/16")]
    assert values(daemonsets=weave(None)) == [("Weave Net", "10.32.0.0/12")]
    assert values(daemonsets=weave([{"name": "IPALLOC_RANGE", "value": "x"}])) == []
    assert values(daemonsets=[]) == []


def test_a_calico_pool_that_is_no_network() -> None:
    assert values(ippools={"items": [{"spec": {"cidr": "10.0.0.0/8 x"}}]}) == []
