from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.checks.node_port_taken import CHECK
from kdiag.model.addresses import Family
from kdiag.model.host import HostFacts, ListeningSocket
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.report import Finding, Severity
from tests.checks.builders import address, cluster, node_view, service, service_port, view

WEB = service(type="NodePort", ports=[service_port(80, node_port=30080)])


def socket(
    port: int = 30080, where: str | None = None, *, process: str | None = "nginx", protocol: str = "tcp"
) -> ListeningSocket:
    return ListeningSocket(
        protocol=protocol,
        address=address(where) if where else None,
        port=port,
        wildcard_families=() if where else (Family.IPV4,),
        process=process,
    )


def found(*sockets: ListeningSocket, item: Any = WEB, **changes: Any) -> list[Finding]:
    host = HostFacts(sockets=sockets, sources={"sockets": "nodes/node01/ss.txt"})
    return list(CHECK.run(view(cluster(item), nodes=[node_view(host=host, **changes)])))


def test_a_foreign_listener() -> None:
    (finding,) = found(socket())
    assert (finding.code, finding.severity, finding.node) == ("KD408", Severity.WARNING, "node01")
    assert (finding.service, finding.port) == ("default/web", "80/TCP")
    assert "The process nginx" in finding.message
    assert finding.evidence[0].text == "tcp *:30080 nginx"


@pytest.mark.parametrize(
    "harmless",
    [
        socket(30081),
        socket(protocol="udp"),
        socket(where="127.0.0.1"),
        socket(process="kube-proxy"),
        socket(process="k3s-server"),
    ],
    ids=["other port", "other protocol", "loopback", "kube-proxy", "k3s"],
)
def test_harmless_listeners(harmless: ListeningSocket) -> None:
    assert found(harmless) == []


@pytest.mark.parametrize(("version", "reported"), [((1, 23), False), ((1, 24), True), (None, False)])
def test_without_a_process_the_release_decides(version: tuple[int, int] | None, reported: bool) -> None:
    assert bool(found(socket(process=None), version=version)) is reported


def test_with_a_process_the_release_does_not_count() -> None:
    assert len(found(socket(), version=(1, 20))) == 1


def test_health_check_ports_are_kube_proxy_s() -> None:
    balancer = replace(WEB, health_check_node_port=30080)
    assert found(socket(process=None), item=balancer) == []


def test_userspace_and_other_proxies_are_left_alone() -> None:
    assert found(socket(), mode=ProxyMode.USERSPACE) == []
    assert found(socket(), other_proxy="Cilium") == []
    assert found(socket(), item=service(type="ExternalName", ports=[service_port(80, node_port=30080)])) == []


def test_one_finding_for_a_process_and_one_for_every_nameless_port() -> None:
    two = service(
        type="NodePort", ports=[service_port(80, node_port=30080), service_port(81, name="b", node_port=30081)]
    )
    (finding,) = found(socket(), socket(30081), socket(where="192.168.56.11"), item=two)
    assert (finding.service, finding.port) == (None, None)
    assert "are node ports" in finding.message
    assert len(finding.affected) == 2
    assert len(found(socket(process=None), socket(30081, process=None), item=two)) == 2


@pytest.mark.parametrize(
    ("stated", "mode", "where", "reported"),
    [
        (None, ProxyMode.IPTABLES, "192.168.56.11", True),
        (("10.0.0.0/8",), ProxyMode.IPTABLES, "192.168.56.11", False),
        (("192.168.0.0/16", "fd00::/8"), ProxyMode.IPTABLES, "192.168.56.11", True),
        (("all",), ProxyMode.NFTABLES, "10.9.9.9", True),
        (None, ProxyMode.NFTABLES, "10.9.9.9", False),
        (None, ProxyMode.NFTABLES, "192.168.56.11", True),
    ],
)
def test_addresses_without_node_ports(
    stated: tuple[str, ...] | None, mode: ProxyMode, where: str, reported: bool
) -> None:
    config = ProxyConfig(source="x", node_port_addresses=stated)
    assert bool(found(socket(where=where), mode=mode, config=config)) is reported


def test_without_sockets_nothing_is_said() -> None:
    assert list(CHECK.run(view(cluster(WEB), nodes=[node_view()]))) == []
