"""KD102: cluster IPs outside every Service range."""

from __future__ import annotations

from kdiag.checks.cluster_ip_outside_range import CHECK
from kdiag.model.facts import FactKind
from kdiag.model.report import Severity
from tests.checks.builders import cluster, fact, service, view

RANGE = fact(FactKind.SERVICE_RANGE, "10.96.0.0/16", flag="--service-cluster-ip-range")


def test_a_cluster_ip_outside() -> None:
    state = cluster(service("in"), service("out", cluster_ips=["10.32.0.5"]), service("old", cluster_ips=["fd00::5"]))
    (finding,) = CHECK.run(view(state, facts=[RANGE]))
    assert finding.severity is Severity.WARNING
    assert finding.service is None
    assert [item.service for item in finding.affected] == ["default/old", "default/out"]
    assert "default/out (10.32.0.5)" in finding.message
    assert finding.expected == "an address in 10.96.0.0/16"


def test_one_service_is_named() -> None:
    state = cluster(service("in"), service("out", cluster_ips=["10.32.0.5"]))
    (finding,) = CHECK.run(view(state, facts=[RANGE]))
    assert finding.service == "default/out"


def test_inside_any_of_the_ranges_is_inside() -> None:
    extra = fact(FactKind.SERVICE_RANGE, "10.32.0.0/24", component="ServiceCIDR extra")
    state = cluster(service(), service("b", cluster_ips=["10.32.0.5"]), service("c", headless=True))
    assert list(CHECK.run(view(state, facts=[RANGE, extra]))) == []


def test_nothing_known_or_only_an_old_record() -> None:
    outside = cluster(service("b", cluster_ips=["10.32.0.5"]))
    assert list(CHECK.run(view(outside))) == []
    record = fact(FactKind.SERVICE_RANGE, "10.96.0.0/16", component="kubeadm")
    assert list(CHECK.run(view(outside, facts=[record]))) == []
    mostly = cluster(service("a"), service("c", cluster_ips=["10.96.0.7"]), service("b", cluster_ips=["10.32.0.5"]))
    assert len(list(CHECK.run(view(mostly, facts=[record])))) == 1
