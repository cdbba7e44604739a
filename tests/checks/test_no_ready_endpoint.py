from __future__ import annotations

from kdiag.checks.no_ready_endpoint import CHECK
from kdiag.model.report import Finding, Severity
from tests.checks.builders import (
    NOW,
    cluster,
    container,
    endpoint,
    endpoint_slice,
    node_view,
    pod,
    service,
    service_port,
    slice_port,
    view,
)

WEB = {"app": "web"}


def found(*items: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items))))  # type: ignore[arg-type]


def test_unready_pods_are_reported_with_the_reason() -> None:
    (finding,) = found(
        service(selector=WEB),
        pod("a", labels=WEB, ready=False),
        pod("b", labels=WEB, phase="Failed", ready=False),
        endpoint_slice("web", endpoint(ready=False, target="a")),
    )
    assert (finding.code, finding.severity, finding.port) == ("KD302", Severity.WARNING, "80/TCP")
    assert finding.actual == "1 failed, 1 not ready"
    assert "of 2 matching pods" in finding.message
    assert [item.text for item in finding.evidence] == [
        "default/a: Running, not ready",
        "default/b: Failed, failed",
        "default/web-ipv4: 1 endpoint, none usable",
    ]


def test_one_ready_pod_is_enough() -> None:
    assert found(service(selector=WEB), pod(labels=WEB), endpoint_slice("web", endpoint())) == []


def test_zero_matches_are_told_elsewhere() -> None:
    assert found(service(selector=WEB)) == []


def terminating(version: tuple[int, int]) -> list[Finding]:
    dying = endpoint(ready=False, serving=True, terminating=True)
    state = cluster(service(selector=WEB), pod(labels=WEB, deleted_at=NOW), endpoint_slice("web", dying))
    return list(CHECK.run(view(state, nodes=[node_view(version=version)])))


def test_terminating_endpoints_serve_from_1_26_on() -> None:
    (finding,) = terminating((1, 25))
    assert "1 terminating" in finding.message
    assert "from 1.26 on" in finding.message
    assert terminating((1, 26)) == []


def test_a_single_port_is_named() -> None:
    ports = [service_port(80, "http", name="a"), service_port(81, "admin", name="b")]
    (finding,) = found(
        service(selector=WEB, ports=ports),
        pod("a", labels=WEB, containers=[container(("http", 80))]),
        pod("b", labels=WEB, ready=False, containers=[container(("admin", 81))]),
        endpoint_slice("web", endpoint(target="a"), ports=[slice_port(80, "a")]),
    )
    assert finding.port == "81/TCP"
    assert finding.message.startswith("Port 81/TCP (b) of Service default/web")
    assert "the ready ones do not declare the target port" in finding.message


def test_without_selector_it_is_worth_knowing() -> None:
    (finding,) = found(service())
    assert (finding.severity, finding.actual) == (Severity.INFO, "no usable endpoint")
    assert found(service(headless=True)) == []
    assert found(service(), endpoint_slice("web", endpoint(target=None))) == []


def test_the_api_server_without_endpoints_is_an_error() -> None:
    (finding,) = found(service("default/kubernetes"))
    assert finding.severity is Severity.ERROR
    assert "API servers" in finding.hint


def test_a_port_of_a_hand_made_service_is_named() -> None:
    two = service(ports=[service_port(80, name="a"), service_port(81, name="b")])
    (finding,) = found(
        two,
        endpoint_slice("web", endpoint(), name="one", ports=[slice_port(80, "a")]),
        endpoint_slice("web", endpoint(ready=False), name="two", ports=[slice_port(81, "b")]),
    )
    assert finding.message.startswith("Port 81/TCP (b) of Service default/web has no selector")


def test_without_recorded_pods_the_reason_is_open() -> None:
    state = cluster(service(selector=WEB), seen={"services", "endpointslices"})
    (finding,) = CHECK.run(view(state))
    assert "pods were not recorded" in finding.message
