from __future__ import annotations

from datetime import timedelta

import pytest

from kdiag.checks.endpoints_disagree_with_pods import CHECK
from kdiag.model.addresses import Protocol
from kdiag.model.cluster import ClusterState
from kdiag.model.endpoints import LegacyEndpoints
from kdiag.model.report import Finding, Severity
from tests.checks.builders import (
    LONG_AGO,
    NOW,
    address,
    cluster,
    container,
    endpoint,
    endpoint_slice,
    meta,
    pod,
    service,
    service_port,
    view,
)

WEB = {"app": "web"}
SELECTED = service(selector=WEB)


def found(*items: object, **keywords: object) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items, **keywords))))  # type: ignore[arg-type]


def test_slices_that_follow_the_pods_are_silent() -> None:
    assert found(SELECTED, pod(labels=WEB), endpoint_slice("web", endpoint())) == []


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        (endpoint("10.244.9.9", target="gone"), "no longer exists: default/gone at 10.244.9.9"),
        (endpoint("10.244.9.9", target="ended"), "has ended: default/ended"),
        (endpoint("10.244.9.9", target="web-1"), "does not have: default/web-1 at 10.244.9.9"),
        (endpoint("10.244.1.7", target="sick"), "ready that is not: default/sick"),
    ],
)
def test_a_ready_endpoint_that_leads_nowhere(listed: object, text: str) -> None:
    pods = [
        pod(labels=WEB),
        pod("ended", labels=WEB, phase="Succeeded", ips=("10.244.9.9",)),
        pod("sick", labels=WEB, ready=False, ips=("10.244.1.7",)),
    ]
    (finding,) = found(SELECTED, pods, endpoint_slice("web", endpoint(), listed))  # type: ignore[arg-type]
    assert (finding.code, finding.severity, finding.service) == ("KD304", Severity.WARNING, "default/web")
    assert text in finding.message
    assert "A share of the connections" in finding.message
    assert finding.evidence[0].source == "cluster/endpointslices.json"


@pytest.mark.parametrize(
    "listed",
    [
        endpoint_slice("web", endpoint(), endpoint("10.244.9.9", target="gone", ready=False)),
        endpoint_slice("web", endpoint(), endpoint("10.244.9.9", target=None)),
        endpoint_slice("web", endpoint(), endpoint("10.244.9.9", target="gone"), managed_by="operator"),
        endpoint_slice("web", endpoint(), endpoint("10.244.1.8", target="dying")),
    ],
    ids=["not ready", "no pod", "other maker", "terminating"],
)
def test_stale_entries_that_are_left_alone(listed: object) -> None:
    dying = pod("dying", labels=WEB, deleted_at=NOW, ips=("10.244.1.9",))
    assert found(SELECTED, pod(labels=WEB), dying, listed) == []


def test_a_ready_pod_that_is_missing() -> None:
    (finding,) = found(
        SELECTED,
        pod(labels=WEB),
        pod("web-2", labels=WEB, ips=("10.244.2.6",)),
        endpoint_slice("web", endpoint()),
    )
    assert "lacks a ready pod: default/web-2 at 10.244.2.6" in finding.message
    assert "get no traffic" in finding.message
    assert [item.source for item in finding.evidence] == ["cluster/pods.json"]


def test_a_ready_pod_that_is_called_not_ready() -> None:
    (finding,) = found(
        SELECTED,
        pod(labels=WEB),
        pod("web-2", labels=WEB, ips=("10.244.2.6",)),
        endpoint_slice("web", endpoint(), endpoint("10.244.2.6", target="web-2", ready=False)),
    )
    assert "calls a ready pod not ready: default/web-2" in finding.message


def test_pods_that_need_not_be_listed() -> None:
    assert not found(
        service(selector=WEB, ports=[service_port(80, "http")]),
        pod(labels=WEB, containers=[container(("http", 80))]),
        pod("plain", labels=WEB, ips=("10.244.2.6",)),
        pod("pending", labels=WEB, ips=(), ready=False),
        pod("six", labels=WEB, ips=("fd00::6",)),
        endpoint_slice("web", endpoint()),
    )


def test_each_family_of_a_dual_service_is_looked_at() -> None:
    dual = service(selector=WEB, cluster_ips=("10.96.0.5", "fd00:1::5"))
    both = pod(labels=WEB, ips=("10.244.1.5", "fd00::5"))
    four = endpoint_slice("web", endpoint())
    (finding,) = found(dual, both, four)
    assert "default/web-1 at fd00::5" in finding.message
    assert found(dual, both, four, endpoint_slice("web", endpoint("fd00::5"))) == []


def test_one_family_is_enough_where_a_headless_service_does_not_say() -> None:
    headless = service(selector=WEB, headless=True)
    both = pod(labels=WEB, ips=("10.244.1.5", "fd00::5"))
    assert found(headless, both, endpoint_slice("web", endpoint())) == []


def test_a_service_without_endpoints_although_pods_are_ready_is_an_error() -> None:
    (finding,) = found(SELECTED, pod(labels=WEB), endpoint_slice("web"))
    assert finding.severity is Severity.ERROR
    assert "connections to it fail" in finding.message


def test_without_slices_of_the_controller_a_single_missing_pod_is_not_judged() -> None:
    assert not found(
        SELECTED,
        pod(labels=WEB),
        pod("web-2", labels=WEB, ips=("10.244.2.6",)),
        endpoint_slice("web", endpoint(), managed_by="operator"),
    )


def test_endpoints_objects_without_a_ready_pod() -> None:
    other = LegacyEndpoints(meta=meta("other"), addresses=((address("10.0.0.1"), "", Protocol.TCP, 80),))
    (finding,) = found(SELECTED, pod(labels=WEB), other, seen={"services", "endpoints", "pods"})
    assert finding.severity is Severity.ERROR
    assert finding.actual == "none of them is listed"


def young(state_of: timedelta) -> list[Finding]:
    fresh = pod(labels=WEB, created_at=NOW - state_of)
    return found(SELECTED, fresh, endpoint_slice("other", endpoint("10.0.0.1", target=None)), endpoint_slice("web"))


def test_pods_that_have_just_come_are_left_alone() -> None:
    assert young(timedelta(seconds=2)) == []
    assert len(young(timedelta(seconds=20))) == 1


def reading(*, follows: bool) -> ClusterState:
    second = pod("web-2", labels=WEB, ips=("10.244.2.6",), created_at=NOW if not follows else LONG_AGO)
    listed = [endpoint()] + ([endpoint("10.244.2.6", target="web-2")] if follows else [])
    return cluster(SELECTED, pod(labels=WEB), second, endpoint_slice("web", *listed))


def test_a_disagreement_must_stand_in_both_readings() -> None:
    assert list(CHECK.run(view(reading(follows=False), before=reading(follows=True)))) == []
    assert len(list(CHECK.run(view(reading(follows=False), before=reading(follows=False))))) == 1
    assert list(CHECK.run(view(reading(follows=False), before=cluster()))) == []


def test_long_lists_are_cut() -> None:
    pods = [pod(f"web-{index}", labels=WEB, ips=(f"10.244.3.{index}",)) for index in range(12)]
    (finding,) = found(SELECTED, pods, endpoint_slice("web"))
    assert finding.message.endswith("and 4 more")


def test_unserved_services_and_unseen_pods_are_left_alone() -> None:
    missing = endpoint_slice("web", endpoint("10.244.9.9", target="gone"))
    assert found(service(selector=WEB, type="ExternalName"), missing) == []
    assert found(SELECTED, missing, seen={"services", "endpointslices"}) == []
