from __future__ import annotations

import pytest

from kdiag.checks.local_policy_without_local_endpoint import CHECK
from kdiag.model.cluster import Service, TrafficPolicy
from kdiag.model.proxy import ProxyConfig
from kdiag.model.report import Finding, Severity
from tests.checks.builders import (
    cluster,
    endpoint,
    endpoint_slice,
    node,
    node_view,
    service,
    service_port,
    view,
)

LOCAL = TrafficPolicy.LOCAL
INTERNAL = service(internal_policy=LOCAL)


def found(*items: object, **keywords: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items, node()), **keywords)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, "somewhere"])
def test_endpoints_that_no_node_calls_its_own(name: str | None) -> None:
    (finding,) = found(INTERNAL, endpoint_slice("web", endpoint(node=name)))
    assert (finding.code, finding.severity, finding.port) == ("KD307", Severity.WARNING, "80/TCP")
    assert finding.frontend == "10.96.0.50:80/TCP"
    assert finding.actual == (f"node names: {name}" if name else "no endpoint has a nodeName")


def test_one_local_endpoint_anywhere_is_enough() -> None:
    strange = endpoint("10.244.9.9", node="somewhere")
    assert found(INTERNAL, endpoint_slice("web", endpoint(), strange)) == []


def test_without_usable_endpoints_another_check_speaks() -> None:
    assert found(INTERNAL, endpoint_slice("web", endpoint(node=None, ready=False))) == []


def test_the_proxy_s_own_name_counts() -> None:
    renamed = node_view(config=ProxyConfig(source="x", hostname_override="somewhere"))
    assert found(INTERNAL, endpoint_slice("web", endpoint(node="somewhere")), nodes=[renamed]) == []


@pytest.mark.parametrize(
    ("item", "reported"),
    [
        (service(), False),
        (service(external_policy=LOCAL), False),
        (service(external_policy=LOCAL, type="NodePort", ports=[service_port(node_port=30080)]), True),
        (service(external_policy=LOCAL, type="LoadBalancer", ingress=["192.0.2.1"]), True),
        (service(external_policy=LOCAL, type="LoadBalancer"), False),
        (service(external_policy=LOCAL, external_ips=["192.0.2.1"]), True),
        (service(internal_policy=LOCAL, headless=True), False),
        (service(internal_policy=LOCAL, type="ExternalName"), False),
    ],
)
def test_only_policies_with_traffic_count(item: Service, reported: bool) -> None:
    findings = found(item, endpoint_slice("web", endpoint(node=None)))
    assert bool(findings) is reported
    assert all(finding.frontend is None for finding in findings)


def test_without_nodes_or_slices_nothing_is_said() -> None:
    stray = endpoint_slice("web", endpoint(node=None))
    assert list(CHECK.run(view(cluster(INTERNAL, stray)))) == []
    assert list(CHECK.run(view(cluster(INTERNAL, stray, node(), seen={"services", "nodes"})))) == []


def test_it_must_stand_in_both_readings() -> None:
    before = cluster(INTERNAL, endpoint_slice("web", endpoint()), node())
    assert found(INTERNAL, endpoint_slice("web", endpoint(node=None)), before=before) == []
