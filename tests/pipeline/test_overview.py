"""What stands beside the findings of the demo and of a recording: Services, nodes, gaps in the verdicts, walks."""

from __future__ import annotations

from functools import cache

import pytest
from msgspec import structs

from kdiag.model.addresses import Protocol
from kdiag.model.dataplane import DataPlane, ServicePortKey
from kdiag.model.difference import Unclear
from kdiag.model.objects import ObjectKey
from kdiag.model.overview import AddressRange, Overview, RangeKind, Unjudged
from kdiag.model.report import Report
from kdiag.parse.target import parse_reserved
from kdiag.pipeline.flow import Scope, diagnose, open_snapshot
from kdiag.pipeline.overview import TRACES, overview_of
from kdiag.pipeline.ranges import address_ranges
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster


@cache
def demo(**narrowed: object) -> Report:
    scope = Scope(with_ranges=True, with_overview=True)
    return diagnose(open_snapshot(None, demo=True), structs.replace(scope, **narrowed))


def overview(**narrowed: object) -> Overview:
    found = demo(**narrowed).overview
    assert found is not None
    return found


def test_it_is_made_only_when_asked_for() -> None:
    report = diagnose(open_snapshot(None, demo=True), Scope())
    assert (report.overview, report.address_ranges) == (None, None)
    assert report.findings == demo().findings


def test_nodes() -> None:
    assert [(node.node, node.judged, node.mode, node.version) for node in overview().nodes] == [
        ("controlplane", True, "iptables", "1.36"),
        ("node01", True, "iptables", "1.36"),
        ("node02", True, "iptables", "1.36"),
    ]
    asked = overview(nodes=("node01",))
    assert [node.judged for node in asked.nodes] == [False, True, False]


def test_services_with_their_addresses_and_endpoints() -> None:
    services = {service.service: service for service in overview().services}
    assert list(services) == sorted(services)
    assert services["default/nodeport-wide"].addresses == ("cluster IP 10.102.10.20:80/TCP", "node port 31595/TCP")
    assert "load-balancer IP 192.168.56.240:80/TCP" in services["default/lb-open"].addresses
    (endpoint,) = services["default/web"].endpoints
    assert (endpoint.address, endpoint.pod, endpoint.node, endpoint.state) == (
        "10.244.1.60:80",
        "default/web-1",
        "node01",
        "ready",
    )
    assert services["kube-system/kube-dns"].endpoint_count == 6


def test_it_is_narrowed_as_the_findings_are() -> None:
    assert {service.service for service in overview(namespace="kube-system").services} == {"kube-system/kube-dns"}
    web = overview(services=(ObjectKey(namespace="default", name="web"),))
    assert [service.service for service in web.services] == ["default/web"]
    assert [item.service for item in web.traces] == ["default/web"]


def test_services_without_an_address_say_why() -> None:
    found = diagnose(cluster("v1.36.2-iptables-nft"), Scope(with_overview=True)).overview
    assert found is not None
    notes = {service.note.split(":")[0] for service in found.services if service.note}
    assert notes == {"headless", "ExternalName", "another proxy than kube-proxy serves it, as its label says"}
    assert found.unjudged == ()


def test_what_a_check_that_was_left_out_would_have_told_is_no_verdict() -> None:
    assert overview().unjudged == ()
    narrowed = overview(ignore=("KD209",))
    assert "KD209" in narrowed.checks_left_out
    assert [(item.node, item.services) for item in narrowed.unjudged] == [("node01", ("default/web",))]
    assert "was left out" in narrowed.unjudged[0].reason
    assert narrowed.traces[0].service != "default/web"


def test_services_that_no_verdict_is_possible_on() -> None:
    view, _ = build_view(open_snapshot(None, demo=True), nodes=(), every_port=True)
    keys = [
        ServicePortKey(service=ObjectKey(namespace="default", name=name), port_name="", protocol=Protocol.TCP)
        for name in ("web", "gone")
    ]
    first = view.nodes[0]
    assert first.comparison is not None
    unclear = (Unclear(node=first.name, reason="a rule was not understood", service_ports=tuple(keys)),)
    nodes = (
        structs.replace(first, comparison=structs.replace(first.comparison, unclear=unclear)),
        *view.nodes[1:],
    )
    changed = structs.replace(view, nodes=nodes)
    found = overview_of(changed, demo().findings, run=(), left_out=(), services=(), namespace=None)
    assert found.unjudged == (
        Unjudged(node="controlplane", reason="a rule was not understood", services=("default/web",)),
    )
    blind = structs.replace(first, expected=DataPlane(node=first.name, behaviours={}))
    nothing = overview_of(
        structs.replace(view, nodes=(blind,)), (), run=(), left_out=(), services=(), namespace="kube-system"
    )
    assert [(item.services, item.reason.partition(" what")[0]) for item in nothing.unjudged] == [
        (("kube-system/kube-dns",), "nothing says")
    ]


def test_more_wrong_services_than_pictures_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = demo().findings  # kept for other tests, so it is made with the usual number
    monkeypatch.setattr("kdiag.pipeline.overview.TRACES", 3)
    view, _ = build_view(open_snapshot(None, demo=True), nodes=())
    found = overview_of(view, findings, run=(), left_out=(), services=(), namespace=None)
    assert (len(found.traces), found.traces_left_out) == (3, 1)


def test_one_walk_for_each_service_that_is_wrong() -> None:
    found = overview()
    assert [(item.service, item.walk.node) for item in found.traces] == [
        ("default/local-cluster", "node02"),
        ("default/new-svc", "node02"),
        ("default/nodeport-wide", "node02"),
        ("default/web", "node01"),
    ]
    assert found.traces_left_out == 0
    assert len(found.traces) < TRACES
    assert all(branch.legal is not True for item in found.traces for branch in item.walk.branches)


def test_checks_that_found_something_are_explained() -> None:
    assert [check.code for check in overview().checks] == ["KD101", "KD209", "KD223", "KD301", "KD402"]
    assert all(check.explanation for check in overview().checks)


def by_kind(kind: RangeKind) -> list[AddressRange]:
    found = demo().address_ranges
    assert found is not None
    return [item for item in found.ranges if item.kind is kind]


def test_ranges_and_how_much_of_them_is_in_use() -> None:
    (services,) = by_kind(RangeKind.SERVICE)
    assert (str(services.network), services.used, services.usable, services.used_by) == (
        "10.96.0.0/12",
        13,
        (1 << 20) - 2,
        "Services",
    )
    assert services.stated_by[0] == "ServiceCIDR kubernetes spec.cidrs: 10.96.0.0/12"
    (pods,) = by_kind(RangeKind.POD)
    assert (pods.used, pods.usable, pods.used_by) == (3 * 256, 1 << 16, "nodes")
    assert [(item.label, item.used, item.usable) for item in by_kind(RangeKind.NODE_POD)] == [
        ("controlplane", 2, 253),
        ("node01", 8, 253),
        ("node02", 3, 253),
    ]
    (docker,) = by_kind(RangeKind.HOST_NETWORK)
    assert (str(docker.network), docker.label, docker.used) == ("10.244.64.0/18", "docker0 on node01", None)
    (hosts,) = by_kind(RangeKind.NODE_NETWORK)
    assert (str(hosts.network), hosts.label, hosts.used) == ("192.168.56.0/24", "eth0 on 3 nodes", 3)


def test_without_the_nodes_their_addresses_stand_for_themselves() -> None:
    view, _ = build_view(open_snapshot(None, demo=True), nodes=(), without_nodes=True)
    found = [item for item in address_ranges(view).ranges if item.kind is RangeKind.NODE_NETWORK]
    assert [(str(item.network), item.label, item.used) for item in found] == [
        ("192.168.56.10/32", "controlplane", None),
        ("192.168.56.11/32", "node01", None),
        ("192.168.56.12/32", "node02", None),
    ]


def test_reserved_ranges_are_on_the_map() -> None:
    view, _ = build_view(open_snapshot(None, demo=True), nodes=(), reserved=(parse_reserved("10.96.0.0/16"),))
    found = [item for item in address_ranges(view).ranges if item.kind is RangeKind.RESERVED]
    assert [(str(item.network), item.stated_by) for item in found] == [("10.96.0.0/16", ("--reserved",))]
