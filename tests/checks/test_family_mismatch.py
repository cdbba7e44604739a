from __future__ import annotations

from kdiag.checks.family_mismatch import CHECK
from kdiag.model.report import Finding, Severity
from tests.checks.builders import (
    cluster,
    endpoint,
    endpoint_slice,
    node,
    pod,
    service,
    service_port,
    view,
)

FOUR = endpoint_slice("web", endpoint())
SIX = endpoint_slice("web", endpoint("fd00::5"))
DUAL_IPS = ("10.96.0.5", "fd00:1::5")


def found(*items: object, **keywords: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items), **keywords)))  # type: ignore[arg-type]


def test_require_dual_stack_with_one_family_is_a_warning() -> None:
    (finding,) = found(service(cluster_ips=DUAL_IPS, policy="RequireDualStack"), FOUR)
    assert (finding.code, finding.severity) == ("KD308", Severity.WARNING)
    assert finding.frontend == "[fd00:1::5]:80/TCP"
    assert finding.expected == "usable IPv6 endpoints"


def test_prefer_dual_stack_with_one_family_is_worth_knowing() -> None:
    (finding,) = found(service(cluster_ips=DUAL_IPS, policy="PreferDualStack"), SIX)
    assert (finding.severity, finding.frontend) == (Severity.INFO, "10.96.0.5:80/TCP")


def test_both_families_are_silent() -> None:
    assert found(service(cluster_ips=DUAL_IPS, policy="RequireDualStack"), FOUR, SIX) == []


def test_no_endpoint_at_all_is_told_elsewhere() -> None:
    assert found(service(cluster_ips=DUAL_IPS, policy="RequireDualStack")) == []


def test_single_stack_and_headless_are_silent() -> None:
    assert found(service(), FOUR) == []
    assert found(service(headless=True), FOUR) == []
    assert found(service(cluster_ips=DUAL_IPS, type="ExternalName"), FOUR) == []


def test_several_ports_have_no_single_frontend() -> None:
    ports = [service_port(80), service_port(81)]
    (finding,) = found(service(cluster_ips=DUAL_IPS, ports=ports), FOUR)
    assert finding.frontend is None
    assert len(finding.affected) == 2


def test_a_single_stack_service_of_the_wrong_family() -> None:
    labels = {"app": "web"}
    (finding,) = found(service(cluster_ips=("fd00:1::5",), selector=labels), pod(labels=labels), endpoint_slice("web"))
    assert finding.severity is Severity.WARNING
    assert finding.expected == "usable IPv6 endpoints"


def test_nodes_without_the_family_are_mentioned() -> None:
    dual = service(cluster_ips=DUAL_IPS)
    assert "No node of the cluster has an IPv6 address" in found(dual, FOUR, node())[0].message
    assert "No node" not in found(dual, FOUR, node(addresses=("fd00::1",)))[0].message
    assert "No node" not in found(dual, FOUR, node(addresses=("host-name",), pod_cidrs=("fd00::/64",)))[0].message
    assert "No node" not in found(dual, FOUR)[0].message
    assert "No node" not in found(dual, SIX, node())[0].message


def test_it_must_stand_in_both_readings() -> None:
    dual = service(cluster_ips=DUAL_IPS)
    assert found(dual, FOUR, before=cluster(dual, FOUR, SIX)) == []
    assert found(dual, FOUR, before=cluster(dual, SIX)) == []


def test_without_endpoint_lists_nothing_is_said() -> None:
    assert list(CHECK.run(view(cluster(service(cluster_ips=DUAL_IPS), seen={"services"})))) == []
