from __future__ import annotations

from kdiag.checks.selector_matches_nothing import CHECK
from kdiag.model.report import Affected, Finding, Severity
from tests.checks.builders import cluster, endpoint, endpoint_slice, pod, service, service_port, view

NOBODY = {"app": "nobody"}


def found(*items: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items))))  # type: ignore[arg-type]


def test_a_selector_without_pods_is_reported() -> None:
    (finding,) = found(service(selector=NOBODY), pod(labels={"app": "web"}))
    assert (finding.code, finding.severity, finding.service) == ("KD301", Severity.WARNING, "default/web")
    assert (finding.port, finding.frontend) == ("80/TCP", "10.96.0.50:80/TCP")
    assert "app=nobody" in finding.message
    assert finding.affected == (Affected(service="default/web", port="80/TCP"),)
    assert [item.source for item in finding.evidence] == ["cluster/services.json"]


def test_one_finding_for_all_ports() -> None:
    (finding,) = found(service(selector=NOBODY, ports=[service_port(80, name="a"), service_port(81, name="b")]))
    assert finding.port is None
    assert [item.port for item in finding.affected] == ["80/TCP", "81/TCP"]


def test_a_matching_pod_silences_it_ready_or_not() -> None:
    assert found(service(selector=NOBODY), pod(labels=NOBODY, ready=False)) == []


def test_endpoints_from_elsewhere_silence_it() -> None:
    assert found(service(selector=NOBODY), endpoint_slice("web", endpoint(target=None), managed_by="me")) == []


def test_pods_in_another_namespace_are_a_clue() -> None:
    (finding,) = found(service(selector=NOBODY), pod("team/one", labels=NOBODY), pod("none/two"))
    assert "namespace team" in finding.message


def test_a_part_of_the_labels_is_a_clue() -> None:
    both = {"app": "web", "tier": "front"}
    (finding,) = found(service(selector=both), pod(labels={"app": "web"}))
    assert "No pod there has tier=front" in finding.message
    (finding,) = found(service(selector=both), pod("a", labels={"app": "web"}), pod("b", labels={"tier": "front"}))
    assert "no pod has all of them" in finding.message


def test_a_headless_service_is_reported_in_terms_of_dns() -> None:
    (finding,) = found(service(selector=NOBODY, headless=True))
    assert "resolves to nothing" in finding.message


def test_cluster_dns_without_pods_is_an_error() -> None:
    (finding,) = found(service("kube-system/kube-dns", selector=NOBODY, labels={"k8s-app": "kube-dns"}))
    assert finding.severity is Severity.ERROR


def test_no_evidence_without_a_known_source() -> None:
    (finding,) = CHECK.run(view(cluster(service(selector=NOBODY), sources={})))
    assert finding.evidence == ()
