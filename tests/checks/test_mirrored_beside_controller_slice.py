from __future__ import annotations

from kdiag.checks.mirrored_beside_controller_slice import CHECK
from kdiag.model.report import Finding, Severity
from tests.checks.builders import MIRRORER, cluster, endpoint, endpoint_slice, service, view

SELECTED = endpoint_slice("web", endpoint())
MIRRORED = endpoint_slice("web", endpoint("203.0.113.9", target=None), name="web-mirrored", managed_by=MIRRORER)


def found(*items: object, **keywords: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items), **keywords)))  # type: ignore[arg-type]


def test_a_mirrored_slice_on_a_service_with_selector() -> None:
    (finding,) = found(service(selector={"app": "web"}), SELECTED, MIRRORED)
    assert (finding.code, finding.severity) == ("KD305", Severity.WARNING)
    assert "203.0.113.9" in finding.message
    assert finding.actual == "left over: default/web-mirrored"
    assert "delete endpointslice web-mirrored" in finding.hint


def test_a_selected_slice_on_a_service_without_selector() -> None:
    (finding,) = found(service(), SELECTED, MIRRORED)
    assert finding.actual == "left over: default/web-ipv4"


def test_doubled_addresses_are_worth_knowing() -> None:
    same = endpoint_slice("web", endpoint(target=None), name="m", managed_by=MIRRORER)
    (finding,) = found(service(selector={"app": "web"}), SELECTED, same)
    assert finding.severity is Severity.INFO


def test_what_belongs_there_is_silent() -> None:
    empty = endpoint_slice("web", name="empty")
    assert found(service(), MIRRORED, empty) == []
    assert found(service(), SELECTED) == []
    assert found(service(selector={"app": "web"}), SELECTED) == []
    assert found(service(selector={"app": "web"}, type="ExternalName"), SELECTED, MIRRORED) == []


def test_a_moment_is_not_enough() -> None:
    state = (service(selector={"app": "web"}), SELECTED, MIRRORED)
    assert found(*state, before=cluster(service(selector={"app": "web"}), SELECTED)) == []
