from __future__ import annotations

from kdiag.checks.port_name_mismatch import CHECK
from kdiag.model.addresses import Protocol
from kdiag.model.endpoints import LegacyEndpoints
from kdiag.model.report import Finding, Severity
from tests.checks.builders import (
    address,
    cluster,
    endpoint,
    endpoint_slice,
    meta,
    service,
    service_port,
    slice_port,
    view,
)

NAMED = service(ports=[service_port(80, name="http")])


def found(*items: object, **keywords: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items, **keywords))))  # type: ignore[arg-type]


def test_another_name_is_an_error() -> None:
    (finding,) = found(NAMED, endpoint_slice("web", endpoint(), ports=[slice_port(8080, "web")]))
    assert (finding.code, finding.severity, finding.port) == ("KD310", Severity.ERROR, "80/TCP")
    assert finding.expected == 'endpoint port "http" (TCP)'
    assert finding.actual == 'endpoint ports: "web" (TCP)'
    assert [item.text for item in finding.evidence] == ['default/web-ipv4: port "web" (TCP)']


def test_another_protocol_is_an_error() -> None:
    assert len(found(NAMED, endpoint_slice("web", endpoint(), ports=[slice_port(80, "http", "UDP")]))) == 1


def test_a_port_without_number_is_explained() -> None:
    (finding,) = found(NAMED, endpoint_slice("web", endpoint(), ports=[slice_port(None, "http")]))
    assert finding.actual is not None
    assert "kube-proxy skips" in finding.actual


def test_the_right_name_is_silent_whatever_the_number() -> None:
    assert found(NAMED, endpoint_slice("web", endpoint(), ports=[slice_port(9999, "http")])) == []


def test_unready_endpoints_under_the_right_name_are_told_elsewhere() -> None:
    assert found(NAMED, endpoint_slice("web", endpoint(ready=False), ports=[slice_port(80, "http")])) == []


def test_only_the_misnamed_port_is_reported() -> None:
    two = service(ports=[service_port(80, name="http"), service_port(443, name="https")])
    (finding,) = found(two, endpoint_slice("web", endpoint(), ports=[slice_port(80, "http")]))
    assert finding.port == "443/TCP"


def test_endpoints_objects_are_read_where_there_are_no_slices() -> None:
    old = LegacyEndpoints(meta=meta("web"), addresses=((address("10.0.0.1"), "web", Protocol.TCP, 80),))
    (finding,) = found(NAMED, old, seen={"services", "endpoints"})
    assert [item.source for item in finding.evidence] == ["cluster/endpoints.json"]
