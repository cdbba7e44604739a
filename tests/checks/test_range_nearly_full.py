"""KD109: ranges with few addresses left."""

from __future__ import annotations

from msgspec import structs

from kdiag.checks.range_nearly_full import CHECK
from kdiag.model.facts import FactKind
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, daemon_set, fact, node, pod, service, service_cidr, view


def services(count: int, text: str = "10.96.0.0/28", prefix: str = "10.96.0.") -> list[Finding]:
    used = [
        service(f"s{number}", cluster_ips=[f"{prefix}{number + 1:x}" if ":" in prefix else f"{prefix}{number + 1}"])
        for number in range(count)
    ]
    return list(CHECK.run(view(cluster(used), facts=[fact(FactKind.SERVICE_RANGE, text)])))


def test_service_range() -> None:
    assert services(11) == []
    (finding,) = services(12)
    assert finding.severity is Severity.INFO
    assert finding.actual == "12 of 14 addresses in use"
    (full,) = services(14)
    assert full.severity is Severity.WARNING
    (six,) = services(14, "fd00::/124", "fd00::")
    assert six.title == "The IPv6 Service range is nearly full"


def test_addresses_outside_do_not_count_and_ranges_add_up() -> None:
    assert services(14, "10.96.0.0/28,10.97.0.0/28") == []
    assert services(14, "10.97.0.0/28") == []
    assert services(14, "10.96.0.0/32") == []


def test_old_allocators_use_a_part_of_ipv6_ranges() -> None:
    state = cluster(service_cidr("kubernetes", "fd00::/108"))
    assert list(CHECK.run(view(state, facts=[fact(FactKind.SERVICE_RANGE, "fd00::/108")]))) == []


def pods(count: int, *, capacity: int | None = 110, cni: str = "kube-flannel-ds") -> list[Finding]:
    own = structs.replace(node(pod_cidrs=["10.244.1.0/26"]), pod_capacity=capacity)
    used = [pod(f"p{number}", ips=[f"10.244.1.{number + 2}"]) for number in range(count)]
    state = cluster(
        own, used, pod("host", host_network=True), pod("done", phase="Failed"), daemon_set(f"kube-system/{cni}")
    )
    return list(CHECK.run(view(state)))


def test_pod_range_of_a_node() -> None:
    assert pods(48) == []
    (finding,) = pods(50)
    assert (finding.severity, finding.node, finding.actual) == (Severity.INFO, "node01", "50 of 61 addresses in use")
    (full,) = pods(60, capacity=None)
    assert full.severity is Severity.WARNING


def test_a_range_that_cannot_run_out() -> None:
    assert pods(60, capacity=61) == []
    assert pods(60, cni="calico-node") == []
