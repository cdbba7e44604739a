from __future__ import annotations

from typing import Any

from kdiag.checks.node_lacks_family import CHECK
from kdiag.model.host import HostFacts, InterfaceAddress
from kdiag.model.report import Finding, Severity
from tests.checks.builders import address, cluster, node, node_view, service, view

FOUR = ("eth0", "192.168.56.11")
SIX = ("eth0", "fd00:56::11")


def host(*pairs: tuple[str, str]) -> HostFacts:
    held = tuple(
        InterfaceAddress(interface=name, address=address(text), prefix_length=64 if ":" in text else 24)
        for name, text in (("lo", "127.0.0.1"), ("lo", "::1"), *pairs)
    )
    return HostFacts(addresses=held, sources={"addresses": "nodes/ip-addr.json"})


def found(hosts: dict[str, HostFacts], *ips: str, **changes: Any) -> list[Finding]:
    nodes = [node_view(name, host=item, **changes) for name, item in hosts.items()]
    services = [service(f"s{index}", cluster_ips=(text,)) for index, text in enumerate(ips)]
    return list(CHECK.run(view(cluster(services), nodes=nodes)))


def test_one_node_lacks_the_family() -> None:
    (finding,) = found({"node01": host(FOUR, SIX), "node02": host(FOUR)}, "10.96.0.1", "fd00::1")
    assert (finding.code, finding.severity, finding.node) == ("KD412", Severity.WARNING, "node02")
    assert "IPv6" in finding.message
    assert [(item.source, item.text) for item in finding.evidence] == [("nodes/ip-addr.json", "no IPv6 address")]


def test_several_nodes_are_one_finding() -> None:
    (finding,) = found({"a": host(FOUR, SIX), "b": host(FOUR), "c": host(FOUR)}, "fd00::1")
    assert finding.node is None
    assert [place.node for place in finding.affected] == ["b", "c"]


def test_link_local_and_service_addresses_do_not_count() -> None:
    (finding,) = found(
        {"a": host(FOUR, SIX), "b": host(FOUR, ("eth0", "fe80::1"), ("kube-ipvs0", "fd00:96::1"))}, "fd00::1"
    )
    assert finding.node == "b"


def test_what_is_left_alone() -> None:
    assert found({"a": host(FOUR, SIX), "b": host(FOUR)}, "10.96.0.1") == []
    assert found({"a": host(FOUR), "b": host(FOUR)}, "fd00::1") == []
    assert found({"a": host(FOUR, SIX), "b": HostFacts()}, "fd00::1") == []
    assert found({"a": host(FOUR, SIX), "b": host(FOUR)}, "fd00::1", other_proxy="Cilium") == []
    assert found({"a": host(FOUR, SIX), "b": host(FOUR)}, "fd00::1", api_node=node(os="windows")) == []
