from __future__ import annotations

from kdiag.checks.contradictory_slices import CHECK
from kdiag.model.endpoints import Endpoint
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, endpoint, endpoint_slice, service, slice_port, view

READY = endpoint()


def found(second: Endpoint, **keywords: object) -> list[Finding]:
    one = endpoint_slice("web", READY, name="one")
    two = endpoint_slice("web", second, name="two")
    return list(CHECK.run(view(cluster(service(), one, two), **keywords)))  # type: ignore[arg-type]


def test_ready_and_not_ready() -> None:
    (finding,) = found(endpoint(ready=False, serving=False))
    assert (finding.code, finding.severity, finding.service) == ("KD309", Severity.INFO, "default/web")
    assert "default/one: ready on node01; default/two: not ready on node01" in finding.message
    assert [item.text for item in finding.evidence] == [
        "default/one: 10.244.1.5:80 ready on node01",
        "default/two: 10.244.1.5:80 not ready on node01",
    ]


def test_another_node_and_terminating() -> None:
    assert "on node02" in found(endpoint(node="node02"))[0].message
    assert "on no node" in found(endpoint(node=None))[0].message
    dying = endpoint(ready=False, serving=True, terminating=True)
    assert "not ready, serving, terminating on node01" in found(dying)[0].message


def test_the_same_said_twice_is_silent() -> None:
    assert found(endpoint(ready=None, serving=True, terminating=False)) == []


def test_another_address_is_no_contradiction() -> None:
    assert found(endpoint("10.244.1.6", ready=False)) == []


def test_a_moment_is_not_enough() -> None:
    before = cluster(service(), endpoint_slice("web", READY, name="one"))
    assert found(endpoint(ready=False), before=before) == []


def test_ports_without_number_and_headless_services_are_left_alone() -> None:
    one = endpoint_slice("web", READY, name="one", ports=[slice_port(None)])
    two = endpoint_slice("web", endpoint(ready=False), name="two", ports=[slice_port(None)])
    assert list(CHECK.run(view(cluster(service(), one, two)))) == []
    headless = service(headless=True)
    assert list(CHECK.run(view(cluster(headless, one, two)))) == []


def test_long_lists_are_cut() -> None:
    one = endpoint_slice("web", *(endpoint(f"10.244.1.{index}") for index in range(1, 9)), name="one")
    two = endpoint_slice("web", *(endpoint(f"10.244.1.{index}", node="x") for index in range(1, 9)), name="two")
    (finding,) = CHECK.run(view(cluster(service(), one, two)))
    assert finding.message.endswith("and 3 more")
    assert finding.actual == "8 endpoints with contradicting statements"
