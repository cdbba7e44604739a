"""KD110: a cluster DNS address that nothing answers at."""

from __future__ import annotations

from kdiag.checks.cluster_dns_mismatch import CHECK
from kdiag.model.cluster import Service
from kdiag.model.facts import Fact, FactKind
from kdiag.model.host import HostFacts, InterfaceAddress
from kdiag.model.report import Finding, Severity
from tests.checks.builders import address, cluster, fact, node, node_view, pod, service, service_port, view

RANGE = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12")
DNS = service(
    "kube-system/kube-dns",
    cluster_ips=["10.96.0.10"],
    ports=[service_port(53, protocol="UDP")],
    labels={"k8s-app": "kube-dns"},
)


def stated(text: str, node_name: str | None = None) -> Fact:
    return fact(FactKind.CLUSTER_DNS, text, component="kubelet", node=node_name, flag="--cluster-dns")


def found(*facts: Fact, services: list[Service] | None = None) -> list[Finding]:
    state = cluster([DNS] if services is None else services, node(), pod(ips=["10.244.0.9"]))
    interface = InterfaceAddress(interface="nodelocaldns", address=address("10.200.0.1"), prefix_length=32)
    return list(
        CHECK.run(view(state, facts=[RANGE, *facts], nodes=[node_view(host=HostFacts(addresses=(interface,)))]))
    )


def test_an_address_in_the_range_that_no_service_has() -> None:
    (finding,) = found(stated("10.96.0.53", "node01"))
    assert (finding.severity, finding.node, finding.service) == (Severity.ERROR, "node01", "kube-system/kube-dns")
    assert (finding.expected, finding.actual) == ("10.96.0.10 of kube-system/kube-dns", "10.96.0.53")
    assert "no Service has" in finding.message


def test_the_address_of_another_service() -> None:
    (finding,) = found(stated("10.96.0.50"), services=[DNS, service("web")])
    assert "belongs to default/web, not a DNS Service" in finding.message


def test_an_address_left_over_from_another_range() -> None:
    (finding,) = found(stated("172.30.0.10"))
    assert finding.severity is Severity.WARNING
    assert "no address of the cluster" in finding.message


def test_no_dns_service_at_all() -> None:
    (finding,) = found(stated("10.96.0.10"), services=[service("web")])
    assert finding.expected == "a Service with port 53"
    assert found(stated("10.1.1.53"), services=[service("web")]) == []


def test_addresses_that_answer() -> None:
    for text in ("10.96.0.10", "169.254.20.10", "127.0.0.1", "192.168.56.11", "10.200.0.1", "10.244.0.9", "odd"):
        assert found(stated(text)) == []


def test_services_must_have_been_read() -> None:
    assert list(CHECK.run(view(cluster(seen=["nodes"]), facts=[RANGE, stated("10.96.0.53")]))) == []
