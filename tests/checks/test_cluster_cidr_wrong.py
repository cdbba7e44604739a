"""KD107: a cluster CIDR without pods."""

from __future__ import annotations

from kdiag.checks.cluster_cidr_wrong import CHECK
from kdiag.model.facts import FactKind
from kdiag.model.proxy import DetectLocalMode, ProxyConfig
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, fact, network, pod, view

SERVICES = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12")
POD = pod(ips=["10.244.1.5", "fd00:244::5"])


def found(*cidrs: str, pods: bool = True, mode: DetectLocalMode | None = None, facts: bool = True) -> list[Finding]:
    config = ProxyConfig(
        source="ConfigMap kube-system/kube-proxy",
        cluster_cidrs=tuple(map(network, cidrs)),
        detect_local_mode=mode,
    )
    own = fact(FactKind.POD_RANGE, ",".join(cidrs), component="kube-proxy", flag="clusterCIDR", source="cm")
    state = cluster(POD) if pods else cluster()
    return list(CHECK.run(view(state, cluster_config=config, facts=[SERVICES, *([own] if facts else [])])))


def test_a_range_without_pods() -> None:
    (finding,) = found("10.99.0.0/24")
    assert (finding.severity, finding.actual) == (Severity.WARNING, "10.99.0.0/24")
    assert "10.244.1.5" in finding.message
    assert finding.evidence[0].source == "cm"
    (finding,) = found("10.244.0.0/16", "fd00:99::/56", facts=False)
    assert finding.actual == "fd00:99::/56"
    assert finding.evidence[0].source == "ConfigMap kube-system/kube-proxy"


def test_the_service_range_in_its_place() -> None:
    (finding,) = found("10.96.0.0/12")
    assert "overlaps the Service range 10.96.0.0/12" in finding.message
    (without_pods,) = found("10.96.0.0/12", pods=False)
    assert without_pods.severity is Severity.WARNING


def test_a_range_over_pods_and_services_is_info() -> None:
    (finding,) = found("10.0.0.0/8")
    assert finding.severity is Severity.INFO


def test_an_overlap_of_the_pod_range_itself_is_told_elsewhere() -> None:
    config = ProxyConfig(source="s", cluster_cidrs=(network("10.0.0.0/8"),))
    told = fact(FactKind.POD_RANGE, "10.0.0.0/8", component="kubeadm")
    assert list(CHECK.run(view(cluster(POD), cluster_config=config, facts=[SERVICES, told]))) == []


def test_what_is_right_or_does_not_matter() -> None:
    assert found("10.244.0.0/16", "fd00:244::/56") == []
    assert found("10.244.0.0/16") == []
    assert found("10.77.0.0/16", pods=False) == []
    assert found("10.0.0.0/8", pods=False) == []
    assert found("10.77.0.0/16", mode=DetectLocalMode.NODE_CIDR) == []
    assert list(CHECK.run(view(cluster(POD), facts=[SERVICES]))) == []
