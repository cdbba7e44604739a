from __future__ import annotations

from kdiag.checks.target_port_undeclared import CHECK
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, container, endpoint, endpoint_slice, pod, service, service_port, view

WEB = {"app": "web"}
NAMED = service(selector=WEB, ports=[service_port(80, "http")])


def found(*items: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items))))  # type: ignore[arg-type]


def test_an_undeclared_name_is_an_error() -> None:
    (finding,) = found(NAMED, pod(labels=WEB, containers=[container(("web", 8080))]), endpoint_slice("web"))
    assert (finding.code, finding.severity, finding.port) == ("KD303", Severity.ERROR, "80/TCP")
    assert finding.expected == "a container port named http (TCP)"
    assert finding.actual == "declared: web (TCP)"
    assert {item.source for item in finding.evidence} == {"cluster/services.json", "cluster/pods.json"}


def test_nothing_declared_is_said() -> None:
    (finding,) = found(NAMED, pod("a", labels=WEB), pod("b", labels=WEB, containers=[container(("", 80))]))
    assert finding.actual == "no container port has a name"


def test_a_number_need_not_be_declared() -> None:
    numbered = service(selector=WEB, ports=[service_port(80, 8080)])
    assert found(numbered, pod(labels=WEB), endpoint_slice("web", endpoint())) == []


def test_a_name_that_one_pod_declares_is_enough() -> None:
    declaring = pod("a", labels=WEB, containers=[container(("http", 8080))])
    assert found(NAMED, declaring, pod("b", labels=WEB), endpoint_slice("web", endpoint(target="a"))) == []


def test_endpoints_written_by_somebody_else_silence_it() -> None:
    assert found(NAMED, pod(labels=WEB), endpoint_slice("web", endpoint(), managed_by="operator")) == []
