"""What components state about ranges, and where."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from kdiag.model.cluster import Node
from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.model.host import HostFacts, Process
from kdiag.model.proxy import ProxyConfig
from kdiag.model.snapshot import Recording
from kdiag.parse.facts import collect_facts
from tests.checks.builders import cluster, config_map, container, network, node, pod, service, service_cidr


def host(*commands: str) -> HostFacts:
    return HostFacts(
        processes=tuple(
            Process(pid=number, argv=tuple(command.split()), source="nodes/cp/ps-ef.txt", line=number + 1)
            for number, command in enumerate(commands, start=1)
        )
    )


def rows(facts: Facts, kind: FactKind) -> list[tuple[str, str, str | None, str]]:
    return [(fact.component, fact.value, fact.node, fact.flag) for fact in facts.of(kind)]


def test_flags_of_processes_keep_their_line() -> None:
    facts = collect_facts(
        cluster(),
        {
            "cp": host(
                "kube-apiserver --service-cluster-ip-range=10.96.0.1/12,fd00:0::/112 --advertise-address=10.0.0.1"
            )
        },
        {},
    )
    (fact,) = facts.of(FactKind.SERVICE_RANGE)
    assert fact == Fact(
        kind=FactKind.SERVICE_RANGE,
        component="kube-apiserver",
        value="10.96.0.0/12,fd00::/112",
        networks=(network("10.96.0.0/12"), network("fd00::/112")),
        node="cp",
        flag="--service-cluster-ip-range",
        source="nodes/cp/ps-ef.txt",
        line=2,
    )
    assert rows(facts, FactKind.NODE_PORT_RANGE) == [("kube-apiserver", "30000-32767", "cp", "default")]
    assert rows(facts, FactKind.ADVERTISE_ADDRESS) == [("kube-apiserver", "10.0.0.1", "cp", "--advertise-address")]


def test_a_pod_that_says_the_same_as_its_process_says_it_once() -> None:
    command = ["sh", "-c", "exec kube-apiserver --service-cluster-ip-range=10.1.0.0/16 >>/var/log/a 2>&1"]
    mirror = pod("kube-system/kube-apiserver-cp", node="cp", containers=[container(command=command)])
    other = pod("kube-system/kube-apiserver-cp2", node="cp2", containers=[container(command=command)])
    stranger = pod("default/kube-apiserver-of-a-vcluster", containers=[container(command=command)])
    ended = pod("kube-system/z", node="z", phase="Failed", containers=[container(command=command), container()])
    facts = collect_facts(
        cluster(mirror, other, stranger, ended),
        {"cp": host("kube-apiserver --service-cluster-ip-range 10.1.0.0/16")},
        {},
    )
    assert [(fact.node, fact.source, fact.line) for fact in facts.of(FactKind.SERVICE_RANGE)] == [
        ("cp", "nodes/cp/ps-ef.txt", 2),
        ("cp2", "cluster/pods.json", 0),
    ]


def test_defaults_only_where_the_flag_is_certainly_absent() -> None:
    seen = collect_facts(cluster(), {"cp": host("kube-apiserver --x")}, {})
    assert rows(seen, FactKind.SERVICE_RANGE) == [("kube-apiserver", "10.0.0.0/24", "cp", "default")]
    cut = "kube-apiserver --x=".ljust(80, "x")
    assert collect_facts(cluster(), {"cp": host(cut)}, {}).of(FactKind.SERVICE_RANGE) == ()
    mirror = pod(
        "kube-system/a",
        node="cp",
        containers=[container(command=["kube-apiserver", "--service-cluster-ip-range=10.1.0.0/16"])],
    )
    both = collect_facts(cluster(mirror), {"cp": host("kube-apiserver --x")}, {})
    assert rows(both, FactKind.SERVICE_RANGE) == [("kube-apiserver", "10.1.0.0/16", "cp", "--service-cluster-ip-range")]


def test_controller_manager() -> None:
    dual = "kube-controller-manager --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16,fd00::/56 --node-cidr-mask-size-ipv6=72"
    facts = collect_facts(cluster(), {"cp": host(dual)}, {})
    assert rows(facts, FactKind.POD_RANGE) == [
        ("kube-controller-manager", "10.244.0.0/16,fd00::/56", "cp", "--cluster-cidr")
    ]
    assert rows(facts, FactKind.NODE_CIDR_MASK) == [
        ("kube-controller-manager", "IPv4 /24", "cp", "default"),
        ("kube-controller-manager", "IPv6 /72", "cp", "--node-cidr-mask-size-ipv6"),
    ]
    assert facts.of(FactKind.SERVICE_RANGE) == ()
    single = "kube-controller-manager --allocate-node-cidrs --cluster-cidr=10.244.0.0/16 --node-cidr-mask-size=25"
    assert rows(collect_facts(cluster(), {"cp": host(single)}, {}), FactKind.NODE_CIDR_MASK) == [
        ("kube-controller-manager", "IPv4 /25", "cp", "--node-cidr-mask-size")
    ]
    odd = "kube-controller-manager --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16 --node-cidr-mask-size=x"
    assert collect_facts(cluster(), {"cp": host(odd)}, {}).of(FactKind.NODE_CIDR_MASK) == ()
    off = "kube-controller-manager --cluster-cidr=10.244.0.0/16"
    assert collect_facts(cluster(), {"cp": host(off)}, {}).of(FactKind.NODE_CIDR_MASK) == ()


def annotated(name: str, arguments: list[str]) -> Node:
    plain = node(name, kubelet_version="v1.30.3+k3s1")
    return structs.replace(
        plain, meta=structs.replace(plain.meta, annotations={"k3s.io/node-args": json.dumps(arguments)})
    )


def test_k3s_annotation_states_flags_and_defaults() -> None:
    server = annotated(
        "s", ["server", "--cluster-dns=10.43.0.10", "--kube-apiserver-arg=service-node-port-range=31000+99"]
    )
    agent = annotated("a", ["agent"])
    facts = collect_facts(cluster(server, agent), {}, {})
    assert rows(facts, FactKind.SERVICE_RANGE) == [("k3s server", "10.43.0.0/16", "s", "default")]
    assert rows(facts, FactKind.POD_RANGE) == [("k3s server", "10.42.0.0/16", "s", "default")]
    assert rows(facts, FactKind.CLUSTER_DNS) == [("k3s server", "10.43.0.10", "s", "--cluster-dns")]
    assert rows(facts, FactKind.NODE_PORT_RANGE) == [
        ("k3s server", "31000-31099", "s", "--kube-apiserver-arg=service-node-port-range")
    ]


@pytest.mark.parametrize(
    ("addresses", "pod_cidr", "expected"),
    [("10.43.0.1", "10.42.0.0/24", 1), ("10.96.0.1", "10.42.0.0/24", 0), ("10.43.0.1", "10.1.0.0/24", 0)],
)
def test_k3s_process_proves_defaults_only_if_the_cluster_agrees(addresses: str, pod_cidr: str, expected: int) -> None:
    state = cluster(service("kubernetes", cluster_ips=[addresses]), node("s", pod_cidrs=[pod_cidr]))
    facts = collect_facts(state, {"s": host("/usr/local/bin/k3s server")}, {})
    assert len(facts.of(FactKind.SERVICE_RANGE)) == expected


def test_objects_and_documents() -> None:
    kubeadm = (
        "apiServer:\n  extraArgs:\n  - name: service-node-port-range\n    value: 30000-31000\n"
        "networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}\n"
    )
    state = cluster(
        service_cidr("kubernetes", "10.96.0.0/12"),
        node("n", pod_cidrs=["10.244.1.0/24"]),
        node("without"),
        config_map("kube-system/kubeadm-config", {"ClusterConfiguration": kubeadm}),
        config_map("kube-system/kubelet-config-1.20", {"kubelet": "clusterDNS: [10.96.0.10, fd00::a]"}),
        config_map("kube-system/kubelet-config", {"kubelet": "clusterDNS: x"}),
        config_map("default/kubeadm-config", {"ClusterConfiguration": kubeadm}),
    )
    facts = collect_facts(state, {}, {})
    assert rows(facts, FactKind.SERVICE_RANGE) == [
        ("ServiceCIDR kubernetes", "10.96.0.0/12", None, "spec.cidrs"),
        ("kubeadm", "10.96.0.0/12", None, "networking.serviceSubnet"),
    ]
    assert rows(facts, FactKind.POD_RANGE) == [("kubeadm", "10.244.0.0/16", None, "networking.podSubnet")]
    assert rows(facts, FactKind.NODE_POD_RANGE) == [("Node n", "10.244.1.0/24", "n", "spec.podCIDRs")]
    assert rows(facts, FactKind.NODE_PORT_RANGE) == [("kubeadm", "30000-31000", None, "apiServer.extraArgs")]
    assert rows(facts, FactKind.CLUSTER_DNS) == [("kubelet-config", "10.96.0.10,fd00::a", None, "clusterDNS")]


def test_old_extra_args_and_unreadable_documents() -> None:
    def facts_of(text: str) -> Facts:
        return collect_facts(cluster(config_map("kube-system/kubeadm-config", {"ClusterConfiguration": text})), {}, {})

    old = facts_of("apiServer: {extraArgs: {service-node-port-range: 30000-31000}}\nnetworking: {podSubnet: ''}\n")
    assert [fact.value for fact in old.facts] == ["30000-31000"]
    for text in ("[", "7", "apiServer: {extraArgs: 7}\nnetworking: []\n", "networking: {podSubnet: 10.0.0.0/99}"):
        assert facts_of(text) == Facts()


def test_proxy_configurations_of_nodes_and_of_the_cluster() -> None:
    shared = ProxyConfig(
        source="ConfigMap kube-system/kube-proxy", cluster_cidrs=(network("10.244.0.0/16"),), mode_text=""
    )
    own = ProxyConfig(source="nodes/a/configz.json", cluster_cidrs=(network("10.99.0.0/16"),), mode_text="ipvs")
    facts = collect_facts(cluster(), {}, {"a": (own, shared), "b": (shared,)})
    assert rows(facts, FactKind.POD_RANGE) == [
        ("kube-proxy", "10.244.0.0/16", None, "clusterCIDR"),
        ("kube-proxy", "10.99.0.0/16", "a", "clusterCIDR"),
    ]
    assert rows(facts, FactKind.PROXY_MODE) == [("kube-proxy", "ipvs", "a", "mode")]


def test_kubelets_cluster_dns() -> None:
    facts = collect_facts(cluster(), {"n": host("/usr/bin/kubelet --cluster-dns=10.96.0.10,x")}, {})
    assert rows(facts, FactKind.CLUSTER_DNS) == [("kubelet", "10.96.0.10", "n", "--cluster-dns")]


def test_values_that_cannot_be_read_state_nothing() -> None:
    odd = (
        "kube-controller-manager --allocate-node-cidrs=true --cluster-cidr=$(CIDR) --service-cluster-ip-range=$(RANGE)"
    )
    assert collect_facts(cluster(), {"cp": host(odd, "unknown program")}, {}) == Facts()
    assert collect_facts(cluster(annotated("n", ["etcd"])), {}, {}) == Facts()


def test_calico_pools_are_read_from_the_recording() -> None:
    pools = {
        "items": [
            {"metadata": {"name": "a"}, "spec": {"cidr": "10.5.0.0/16"}},
            {"metadata": {"name": "b"}, "spec": {"cidr": "10.6.0.0/16", "disabled": True}},
            {"spec": {"cidr": "bad"}},
            7,
            {"spec": 7},
        ]
    }
    recordings = {"ippools": Recording(source="cluster/ippools.json", content=json.dumps(pools).encode())}
    (fact,) = collect_facts(cluster(), {}, {}, recordings).of(FactKind.CNI_RANGE)
    assert (fact.component, fact.value, fact.source) == ("Calico IPPool a", "10.5.0.0/16", "cluster/ippools.json")
