"""KD111: addresses with more than one owner."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.checks.address_collision import CHECK
from kdiag.checks.service_endpoints import SERVICE_PROXY_LABEL
from kdiag.model.cluster import ClusterState, LoadBalancerIngress, Node, Pod, Service
from kdiag.model.endpoints import EndpointSlice
from kdiag.model.report import Finding, Severity
from tests.checks.builders import address, cluster, endpoint, endpoint_slice, node, pod, service, service_port, view

API = endpoint_slice("kubernetes", endpoint("192.168.56.11", target=None), ports=[6443])


def found(*items: Service | Pod | Node | EndpointSlice, before: ClusterState | None = None) -> list[Finding]:
    return list(CHECK.run(view(cluster(*items), before=before)))


def test_one_cluster_ip_for_two() -> None:
    (finding,) = found(service("a"), service("b"), service("c", cluster_ips=["10.96.0.51"]))
    assert finding.severity is Severity.ERROR
    assert finding.frontend == "10.96.0.50"
    assert [item.service for item in finding.affected] == ["default/a", "default/b"]


def test_an_address_that_passed_on_between_the_readings() -> None:
    assert found(service("a"), service("b"), before=cluster(service("a"))) == []


def exposed(name: str, last: int, port: int, protocol: str = "TCP") -> Service:
    return service(
        name,
        cluster_ips=[f"10.96.0.{last}"],
        type="NodePort",
        ports=[service_port(80, node_port=port, protocol=protocol)],
    )


def test_one_node_port_for_two() -> None:
    (finding,) = found(exposed("a", 1, 30080), exposed("b", 2, 30080))
    assert finding.frontend == "30080/TCP"
    assert [item.port for item in finding.affected] == ["80/TCP", "80/TCP"]
    health = structs.replace(exposed("c", 3, 30081), health_check_node_port=30080)
    (finding,) = found(exposed("a", 1, 30080), health)
    assert "health check node port" in finding.message


def test_one_number_for_tcp_and_udp_is_legal() -> None:
    assert found(exposed("a", 1, 30080), exposed("b", 2, 30080, "UDP")) == []


def external(name: str, last: int, *addresses: str, port: int = 80, **more: object) -> Service:
    made = service(name, cluster_ips=[f"10.96.0.{last}"], external_ips=addresses, ports=[service_port(port)])
    return structs.replace(made, **more)


def balanced(name: str, last: int, where: str, port: int = 80, mode: str | None = "VIP") -> Service:
    made = service(name, cluster_ips=[f"10.96.0.{last}"], type="LoadBalancer", ports=[service_port(port)])
    return structs.replace(
        made, ingress=(LoadBalancerIngress(ip=address(where), ip_mode=mode), LoadBalancerIngress(hostname="x"))
    )


def test_one_external_address_and_port_for_two() -> None:
    (finding,) = found(external("a", 1, "203.0.113.5"), balanced("b", 2, "203.0.113.5"))
    assert finding.frontend == "203.0.113.5:80/TCP"
    assert "load balancer" in finding.message


def test_sharing_an_external_address_on_different_ports_is_legal() -> None:
    assert found(external("a", 1, "203.0.113.5"), balanced("b", 2, "203.0.113.5", port=443)) == []
    assert found(external("a", 1, "203.0.113.5"), balanced("b", 2, "203.0.113.5", mode="Proxy")) == []


def test_an_address_of_a_pod_or_of_another_service() -> None:
    (finding,) = found(external("a", 1, "10.244.1.5"), pod())
    assert (finding.severity, finding.service, finding.frontend) == (Severity.ERROR, "default/a", "10.244.1.5")
    assert "pod default/web-1" in str(finding.actual)
    (finding,) = found(external("a", 1, "10.96.0.50"), service("kube-dns"))
    assert "the cluster IP of default/kube-dns" in finding.message
    assert found(external("a", 1, "10.96.0.1")) == []


@pytest.mark.parametrize("port", [6443, 10250, 22])
def test_a_vital_port_of_a_node(port: int) -> None:
    (finding,) = found(external("a", 1, "192.168.56.11", port=port), node(), API)
    assert (finding.severity, finding.port) == (Severity.ERROR, f"{port}/TCP")
    assert "address of node node01" in finding.message
    assert len(found(balanced("a", 1, "192.168.56.11", port=port), node(), API)) == 1


def test_another_port_of_a_node_is_info_or_nothing() -> None:
    (finding,) = found(external("a", 1, "192.168.56.11", port=8080), node(), API)
    assert finding.severity is Severity.INFO
    assert found(balanced("a", 1, "192.168.56.11"), node(), API) == []
    assert found(external("a", 1, "203.0.113.5"), node(), API) == []


def test_a_service_in_front_of_that_very_socket() -> None:
    own = endpoint_slice("a", endpoint("192.168.56.11", target=None), ports=[22, None])  # type: ignore[list-item]
    assert found(balanced("a", 1, "192.168.56.11", port=22), node(), own) == []


def test_addresses_that_are_not_programmed() -> None:
    six = pod(ips=["fd00::5"])
    assert found(external("a", 1, "fd00::5"), six) == []
    assert found(balanced("a", 1, "fd00::5"), six) == []
    assert found(structs.replace(external("a", 1, "10.244.1.5"), headless=True, cluster_ips=()), pod()) == []


def test_services_of_another_proxy() -> None:
    other = external("a", 1, "10.244.1.5")
    other = structs.replace(other, meta=structs.replace(other.meta, labels={SERVICE_PROXY_LABEL: "x"}))
    assert found(other, pod()) == []
