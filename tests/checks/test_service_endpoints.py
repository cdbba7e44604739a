"""The story of a Service without endpoints, and the words it is made of."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kdiag.checks import service_endpoints as subject
from kdiag.checks.service_endpoints import Lack
from kdiag.model.addresses import Family, Protocol
from kdiag.model.cluster import Pod
from kdiag.model.endpoints import LegacyEndpoints
from kdiag.model.proxy import ProxyConfig
from tests.checks.builders import (
    LONG_AGO,
    NOW,
    address,
    cluster,
    container,
    endpoint,
    endpoint_slice,
    meta,
    node_view,
    pod,
    service,
    service_port,
    slice_port,
    view,
)

WEB = {"app": "web"}


def lacks(*items: object, **keywords: object) -> list[tuple[str, Lack]]:
    found = subject.shortages(view(cluster(*items, **keywords)))  # type: ignore[arg-type]
    return [(str(item.service.key), item.lack) for item in found]


def test_a_service_with_a_ready_endpoint_lacks_nothing() -> None:
    assert lacks(service(selector=WEB), pod(labels=WEB), endpoint_slice("web", endpoint())) == []


@pytest.mark.parametrize(
    ("changes", "lack"),
    [
        ({"labels": {"app": "other"}}, Lack.NO_POD),
        ({"ready": False}, Lack.NOT_USABLE),
        ({"phase": "Failed"}, Lack.NOT_USABLE),
        ({"deleted_at": NOW}, Lack.NOT_USABLE),
        ({"ips": ()}, Lack.NOT_USABLE),
        ({"ips": ("fd00::5",)}, Lack.FAMILY),
        ({}, Lack.UNLISTED),
    ],
)
def test_the_pod_decides_what_is_lacking(changes: dict[str, object], lack: Lack) -> None:
    built = pod(**{"labels": WEB, **changes})  # type: ignore[arg-type]
    assert lacks(service(selector=WEB), built, endpoint_slice("web")) == [("default/web", lack)]


def test_pods_of_another_namespace_do_not_match() -> None:
    assert lacks(service(selector=WEB), pod("team/web-1", labels=WEB)) == [("default/web", Lack.NO_POD)]


def test_all_labels_of_the_selector_must_match() -> None:
    both = {"app": "web", "tier": "front"}
    assert lacks(service(selector=both), pod(labels=WEB)) == [("default/web", Lack.NO_POD)]


@pytest.mark.parametrize(
    "unserved",
    [
        service(selector=WEB, type="ExternalName", cluster_ips=()),
        service(selector=WEB, labels={"service.kubernetes.io/service-proxy-name": ""}),
        service(selector=WEB, cluster_ips=()),
    ],
    ids=["external name", "other proxy", "pending"],
)
def test_services_that_nobody_serves_are_left_alone(unserved: object) -> None:
    assert lacks(unserved) == []


def test_a_headless_service_counts_in_both_families() -> None:
    headless = service(selector=WEB, headless=True)
    listed = endpoint_slice("web", endpoint("fd00::5"))
    assert lacks(headless, pod(labels=WEB, ips=("fd00::5",)), listed) == []
    assert lacks(headless, pod(labels=WEB, ready=False)) == [("default/web", Lack.NOT_USABLE)]


def test_a_headless_service_without_ports_needs_any_endpoint() -> None:
    headless = service(selector=WEB, headless=True, ports=())
    (found,) = subject.shortages(view(cluster(headless, pod(labels=WEB, ready=False))))
    assert (found.lack, found.ports, found.whole) == (Lack.NOT_USABLE, (), True)
    assert lacks(headless, pod(labels=WEB), endpoint_slice("web", endpoint(), ports=())) == []
    assert lacks(headless, pod(labels=WEB)) == [("default/web", Lack.UNLISTED)]


def test_not_ready_pods_that_are_published_are_able() -> None:
    published = service(selector=WEB, publish_not_ready=True)
    by_annotation = service(
        selector=WEB, annotations={"service.alpha.kubernetes.io/tolerate-unready-endpoints": "true"}
    )
    for item in (published, by_annotation):
        assert subject.is_able(item, pod(ready=False))
    assert not subject.is_able(service(selector=WEB), pod(ready=False))


def test_a_named_target_port_that_no_pod_declares_is_the_most_precise_story() -> None:
    named = service(selector=WEB, ports=[service_port(80, "http"), service_port(81, "admin", name="admin")])
    declared = container(("http", 8080))
    story = subject.shortages(view(cluster(named, pod(labels=WEB, containers=[declared], ready=False))))
    assert [(item.lack, [port.port for port in item.ports], item.whole) for item in story] == [
        (Lack.TARGET_PORT, [81], True)
    ]


def test_the_protocol_of_a_named_target_port_counts() -> None:
    named = service_port(53, "dns", protocol="UDP")
    assert not subject.declares(pod(containers=[container(("dns", 53))]), named)
    assert subject.declares(pod(containers=[container(), container(("dns", 53, "UDP"))]), named)
    assert subject.declares(pod(), service_port(80, 8080))


def test_ended_pods_declare_nothing() -> None:
    named = service(selector=WEB, ports=[service_port(80, "http")])
    assert lacks(named, pod(labels=WEB, phase="Succeeded")) == [("default/web", Lack.NOT_USABLE)]


def test_ready_pods_that_do_not_declare_the_port_do_not_help() -> None:
    named = service(selector=WEB, ports=[service_port(80, "http")])
    plain = pod("a", labels=WEB)
    declaring = pod("b", labels=WEB, ready=False, containers=[container(("http", 8080))])
    assert lacks(named, plain, declaring) == [("default/web", Lack.NOT_USABLE)]


def test_a_slice_with_another_port_name_is_a_port_name_story() -> None:
    listed = endpoint_slice("web", endpoint(), ports=[slice_port(80, "http")])
    assert lacks(service(selector=WEB), pod(labels=WEB), listed) == [("default/web", Lack.PORT_NAME)]
    assert lacks(service(), listed) == [("default/web", Lack.PORT_NAME)]


def test_a_slice_port_without_a_number_is_passed_over() -> None:
    assert lacks(service(), endpoint_slice("web", endpoint(), ports=[slice_port(None)])) == [
        ("default/web", Lack.PORT_NAME)
    ]


def test_without_selector_a_right_name_with_unready_endpoints_is_not_usable() -> None:
    two = service(ports=[service_port(80, name="a"), service_port(81, name="b")])
    ready = endpoint_slice("web", endpoint(), name="one", ports=[slice_port(80, "a")])
    unready = endpoint_slice("web", endpoint(ready=False), name="two", ports=[slice_port(81, "b")])
    assert lacks(two, ready, unready) == [("default/web", Lack.NOT_USABLE)]


def test_without_selector_endpoints_of_the_other_family_are_told() -> None:
    assert lacks(service(), endpoint_slice("web", endpoint("fd00::5", target=None))) == [("default/web", Lack.FAMILY)]
    assert lacks(service()) == [("default/web", Lack.NOT_USABLE)]


def test_fqdn_slices_hold_no_addresses() -> None:
    assert lacks(service(), endpoint_slice("web", endpoint(), address_type="FQDN")) == [
        ("default/web", Lack.NOT_USABLE)
    ]


def test_without_endpoint_lists_nothing_is_said() -> None:
    assert lacks(service(selector=WEB), seen={"services", "pods"}) == []


def test_without_pods_the_reason_is_open() -> None:
    (found,) = subject.shortages(view(cluster(service(selector=WEB), seen={"services", "endpointslices"})))
    assert (found.lack, found.pods) == (Lack.NOT_USABLE, None)


def legacy(ready: bool, port_name: str = "") -> LegacyEndpoints:
    entry = (address("10.244.1.5"), port_name, Protocol.TCP, 80)
    return LegacyEndpoints(
        meta=meta("web"), addresses=(entry,) if ready else (), not_ready_addresses=() if ready else (entry,)
    )


def test_old_clusters_are_read_from_endpoints_objects() -> None:
    old = {"services", "endpoints", "pods"}
    assert lacks(service(selector=WEB), pod(labels=WEB), legacy(ready=True), seen=old) == []
    assert lacks(service(selector=WEB), pod(labels=WEB, ready=False), legacy(ready=False), seen=old) == [
        ("default/web", Lack.NOT_USABLE)
    ]
    assert lacks(service(), legacy(ready=True, port_name="http"), seen=old) == [("default/web", Lack.PORT_NAME)]
    assert lacks(service(), seen=old) == [("default/web", Lack.NOT_USABLE)]


def test_only_what_stood_in_both_readings_counts() -> None:
    broken = cluster(service(selector=WEB))
    works = cluster(service(selector=WEB), pod(labels=WEB), endpoint_slice("web", endpoint()))
    assert subject.shortages(view(broken, before=works)) == ()
    assert len(subject.shortages(view(broken, before=cluster(service(selector=WEB))))) == 1


@pytest.mark.parametrize(
    ("versions", "server", "uses"),
    [
        ([(1, 20)], "v1.30.0", False),
        ([(1, 20), (1, 30)], None, True),
        ([], "v1.25.4", False),
        ([], "v1.26.0", True),
        ([], None, True),
    ],
)
def test_terminating_endpoints_by_release(versions: list[tuple[int, int]], server: str | None, uses: bool) -> None:
    nodes = [node_view(f"n{index}", version=version) for index, version in enumerate(versions)]
    nodes.append(node_view("silent", version=None))
    assert subject.uses_terminating(view(cluster(version=server), nodes=nodes)) is uses


def test_the_feature_gate_beats_the_release() -> None:
    config = ProxyConfig(source="x", feature_gates={"ProxyTerminatingEndpoints": True})
    assert subject.uses_terminating(view(cluster(), nodes=[node_view(config=config, version=(1, 24))]))


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "usable"),
    [
        (True, None, None, True),
        (None, None, None, True),
        (False, True, True, True),
        (False, None, True, True),
        (False, False, True, False),
        (False, True, False, False),
    ],
)
def test_usable_endpoints(ready: bool | None, serving: bool | None, terminating: bool | None, usable: bool) -> None:
    item = endpoint(ready=ready, serving=serving, terminating=terminating)
    assert subject.is_usable(item, terminating=True) is usable
    assert subject.is_usable(item, terminating=False) is (ready is not False)


def test_families_of_a_service() -> None:
    assert subject.service_families(service(cluster_ips=("fd00::1", "10.96.0.1"))) == (Family.IPV4, Family.IPV6)
    assert subject.service_families(service(headless=True, families=[Family.IPV6])) == (Family.IPV6,)
    assert subject.service_families(service(headless=True)) == (Family.IPV4, Family.IPV6)


@pytest.mark.parametrize(
    ("built", "state"),
    [
        (pod(phase="Succeeded"), "ended"),
        (pod(phase="Failed"), "failed"),
        (pod(deleted_at=LONG_AGO + timedelta(hours=1)), "terminating"),
        (pod(ips=()), "without an address"),
        (pod(), "ready"),
        (pod(ready=False), "not ready"),
    ],
)
def test_pod_states(built: Pod, state: str) -> None:
    assert subject.pod_state(built) == state


def test_words() -> None:
    two = service(ports=[service_port(80), service_port(443, name="tls")], selector={"b": "2", "a": "1"})
    assert subject.port_list(two.ports) == "80/TCP, 443/TCP (tls)"
    assert subject.selector_text(two) == "a=1,b=2"
    assert subject.only_port(two.ports) is None
    assert subject.frontend_text(two, two.ports) is None
    assert subject.frontend_text(two, two.ports[:1]) == "10.96.0.50:80/TCP"
    assert subject.frontend_text(service(headless=True), two.ports[:1]) is None
    assert [item.port for item in subject.affected_ports(two, two.ports)] == ["80/TCP", "443/TCP"]
    assert [item.port for item in subject.affected_ports(two, ())] == [None]
    assert subject.is_vital(service("default/kubernetes"))
    assert subject.is_vital(service("kube-system/dns", labels={"k8s-app": "kube-dns"}))
    assert not subject.is_vital(two)
