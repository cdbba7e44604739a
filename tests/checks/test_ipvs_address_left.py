from __future__ import annotations

from typing import Any

from msgspec import structs

from kdiag.checks.ipvs_address_left import CHECK
from kdiag.model.addresses import Family, Protocol
from kdiag.model.difference import CauseKind, Comparison, DifferenceGroup, Unclear
from kdiag.model.host import HostFacts, InterfaceAddress
from kdiag.model.ipvs import IpvsTable, VirtualServer
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Finding, Severity
from tests.checks.builders import address, cluster, node, node_view, pod, service, view


def found(*texts: str, mode: ProxyMode = ProxyMode.IPVS, **changes: Any) -> list[Finding]:
    host = HostFacts(
        addresses=tuple(
            InterfaceAddress(interface="kube-ipvs0", address=address(text), prefix_length=32) for text in texts
        ),
        sources={"addresses": "nodes/node01/ip-addr.json"},
    )
    state = cluster(
        service("web", cluster_ips=("10.96.0.1",), external_ips=("192.0.2.7",), ingress=("192.0.2.8",)),
        node("node01"),
        node("node02", addresses=("192.168.56.12",)),
        pod("client", ips=("10.244.1.7",)),
    )
    seen = structs.replace(node_view("node01", host=host), mode=mode, **changes)
    return list(CHECK.run(view(state, nodes=[seen])))


def test_addresses_of_services_belong_there() -> None:
    assert found("10.96.0.1", "192.0.2.7", "192.0.2.8") == []


def test_an_address_that_nobody_has() -> None:
    (finding,) = found("10.96.0.1", "10.96.200.200")
    assert (finding.code, finding.severity, finding.node) == ("KD226", Severity.WARNING, "node01")
    assert "10.96.200.200" in finding.message
    assert [item.source for item in finding.evidence] == ["nodes/node01/ip-addr.json"]


def test_an_address_of_another_machine_is_an_error() -> None:
    first, second = found("192.168.56.12", "10.244.1.7")
    assert {first.severity, second.severity} == {Severity.ERROR}
    assert "pod default/client" in first.message
    assert "node node02" in second.message


def test_what_is_left_alone() -> None:
    assert found("10.96.200.200", mode=ProxyMode.IPTABLES) == []
    server = VirtualServer(
        protocol=Protocol.TCP, address=address("10.96.200.200"), port=80, family=Family.IPV4, scheduler="rr"
    )
    assert found("10.96.200.200", ipvs=IpvsTable(source="ipvsadm", servers=(server,))) == []
    moving = Comparison(node="node01", unclear=(Unclear(node="node01", reason="", service_ports=(), unsettled=True),))
    assert found("10.96.200.200", comparison=moving) == []
    stale = DifferenceGroup(cause=CauseKind.STALE_NODE, node="node01", family=Family.IPV4, detail="")
    assert found("10.96.200.200", comparison=Comparison(node="node01", groups=(stale,))) == []
