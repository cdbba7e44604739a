"""KD108: components that state different ranges."""

from __future__ import annotations

import pytest

from kdiag.checks.settings_disagree import CHECK
from kdiag.model.facts import Fact, FactKind
from kdiag.model.proxy import DetectLocalMode, ProxyConfig
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, daemon_set, fact, network, pod, view


def services(value: str, component: str = "kube-apiserver", node: str | None = "cp1") -> Fact:
    return fact(FactKind.SERVICE_RANGE, value, component=component, node=node, flag="--service-cluster-ip-range")


def pods(value: str, component: str = "kube-controller-manager", node: str | None = None) -> Fact:
    return fact(FactKind.POD_RANGE, value, component=component, node=node)


def ports(value: str, component: str = "kube-apiserver") -> Fact:
    return fact(FactKind.NODE_PORT_RANGE, value, component=component)


def found(
    *facts: Fact, config: ProxyConfig | None = None, calico: bool = False, running: str | None = None
) -> list[Finding]:
    items = [daemon_set("kube-system/calico-node")] if calico else []
    state = cluster(*items, *([pod(ips=[running])] if running else []))
    return list(CHECK.run(view(state, facts=facts, cluster_config=config)))


def test_api_servers_with_different_ranges() -> None:
    (finding,) = found(services("10.96.0.0/12"), services("10.32.0.0/24", node="cp2"))
    assert finding.severity is Severity.ERROR
    assert finding.title == "Components disagree about the service range"
    assert finding.actual == "10.32.0.0/24, 10.96.0.0/12"
    assert [item.node for item in finding.affected] == ["cp1", "cp2"]
    assert len(finding.evidence) == 2


def test_one_node_is_named() -> None:
    (finding,) = found(services("10.96.0.0/12"), services("10.32.0.0/24"))
    assert finding.node == "cp1"


@pytest.mark.parametrize("component", ["kube-controller-manager", "kubeadm", "ServiceCIDR kubernetes"])
def test_others_against_the_api_server(component: str) -> None:
    (finding,) = found(services("10.96.0.0/12"), services("10.32.0.0/24", component, None))
    assert finding.severity is Severity.WARNING
    assert component in finding.message


def test_agreement_in_other_words() -> None:
    assert (
        found(
            services("10.96.0.0/12,fd00::/112"),
            services("fd00::/112,10.96.0.0/12", node="cp2"),
            services("10.96.0.0/12", "kube-controller-manager"),
            services("10.96.0.0/12", "kubeadm", None),
            services("10.96.0.0/12,fd00::/112", "ServiceCIDR kubernetes", None),
            services("10.200.0.0/24", "ServiceCIDR extra", None),
        )
        == []
    )


def test_without_an_api_server_in_sight() -> None:
    controllers = services("10.96.0.0/12", "kube-controller-manager")
    assert found(controllers) == []
    assert len(found(controllers, services("10.32.0.0/24", "kubeadm", None))) == 1
    (finding,) = found(controllers, services("10.32.0.0/24", "ServiceCIDR kubernetes", None))
    assert "controller manager" in finding.message


def test_pod_ranges() -> None:
    (finding,) = found(pods("10.244.0.0/16"), pods("10.0.0.0/16", "kubeadm"))
    assert finding.title == "Components disagree about the pod range"
    (two,) = found(pods("10.244.0.0/16", node="cp1"), pods("10.0.0.0/16", node="cp2"))
    assert "Control planes" in two.message
    assert found(pods("10.244.0.0/16"), pods("10.244.0.0/16", "kubeadm")) == []
    assert found(pods("10.244.0.0/16"), pods("10.0.0.0/16", "kubeadm"), calico=True) == []


def test_flannel() -> None:
    def flannel(value: str) -> Fact:
        return fact(FactKind.CNI_RANGE, value, component="flannel")

    (finding,) = found(pods("10.100.0.0/16", "kubeadm"), flannel("10.244.0.0/16"))
    assert "flannel" in finding.message
    assert found(pods("10.244.0.0/16"), flannel("10.0.0.0/8")) == []


def proxy(value: str, mode: DetectLocalMode | None = None) -> ProxyConfig:
    return ProxyConfig(
        source="s", cluster_cidrs=tuple(map(network, value.split(","))) if value else (), detect_local_mode=mode
    )


def test_cluster_cidr() -> None:
    stated = [
        pods("10.244.0.0/17", "kube-proxy", "node01"),
        pods("10.244.0.0/17", "kube-proxy"),
        pods("10.9.0.0/16", "kube-proxy", "n"),
    ]
    (finding,) = found(pods("10.244.0.0/16"), *stated, config=proxy("10.244.0.0/17"))
    assert "does not hold the whole pod range" in finding.message
    assert finding.node is None
    assert found(pods("10.244.0.0/16"), *stated, config=proxy("10.244.0.0/17", DetectLocalMode.NODE_CIDR)) == []
    assert found(pods("10.244.0.0/16"), *stated, config=proxy("")) == []
    assert found(pods("10.244.0.0/16"), *stated) == []
    wide = pods("10.0.0.0/8", "kube-proxy")
    assert found(pods("10.244.0.0/16"), wide, config=proxy("10.0.0.0/8")) == []
    # Without a single pod inside it is KD107's.
    assert found(pods("10.244.0.0/16"), *stated, config=proxy("10.244.0.0/17"), running="10.244.200.1") == []


def test_node_port_ranges() -> None:
    (finding,) = found(ports("30000-32767"), ports("30000-31000"))
    assert finding.severity is Severity.WARNING
    assert finding.title == "Components disagree about the node port range"
    (finding,) = found(ports("30000-32767"), ports("30000-31000", "kubeadm"))
    assert "kubeadm" in finding.message
    assert found(ports("30000-32767"), ports("30000-32767", "k3s server"), ports("30000-32767", "kubeadm")) == []
    assert found(ports("30000-31000", "kubeadm")) == []
