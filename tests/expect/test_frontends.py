from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.expect.frontends import addresses_of, is_served, node_port_addresses
from kdiag.expect.selection import ProxyRules
from kdiag.model.addresses import Family
from kdiag.model.cluster import LoadBalancerIngress, Service
from kdiag.model.dataplane import FrontendKind
from kdiag.model.host import HostFacts, InterfaceAddress
from kdiag.model.proxy import ProxyConfig, Version
from kdiag.walk.network import node_network
from tests.checks import builders as b

NODE = b.node("node01", addresses=["192.168.56.11", "fd00:56::11"])
HOST_ADDRESSES = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["192.168.56.11", "fd00:56::11", "fe80::1"],
    "cni0": ["10.244.1.1"],
    "kube-ipvs0": ["10.96.0.1"],
}
LOCALNET = "net.ipv4.conf.all.route_localnet"


def host(localnet: str | None = "1") -> HostFacts:
    return HostFacts(
        addresses=tuple(
            InterfaceAddress(interface=link, address=b.address(text), prefix_length=24)
            for link, texts in HOST_ADDRESSES.items()
            for text in texts
        ),
        sysctls={LOCALNET: localnet} if localnet is not None else {},
    )


def rules(version: Version = (1, 36), gates: dict[str, bool] | None = None) -> ProxyRules:
    return ProxyRules(version=version, gates=gates or {}, node_name="node01", node=NODE)


# -- Services that are served ------------------------------------------------------------------------------------------


def test_an_ordinary_service_is_served() -> None:
    assert is_served(b.service())


@pytest.mark.parametrize(
    "service",
    [
        b.service(headless=True),
        b.service(type="ExternalName", cluster_ips=()),
        b.service(type="ExternalName"),
        b.service(cluster_ips=()),
        b.service(labels={"service.kubernetes.io/service-proxy-name": "mine"}),
        b.service(labels={"service.kubernetes.io/service-proxy-name": ""}),
        b.service(labels={"service.kubernetes.io/headless": ""}),
    ],
)
def test_what_kube_proxy_skips_is_not_served(service: Service) -> None:
    assert not is_served(service)


# -- addresses ---------------------------------------------------------------------------------------------------------


def kinds(
    service: Service, family: Family = Family.IPV4, version: Version = (1, 36), gates: dict[str, bool] | None = None
) -> list[tuple[str, str, int, list[str]]]:
    at = [b.address("192.168.56.11"), b.address("127.0.0.1")] if family is Family.IPV4 else [b.address("fd00:56::11")]
    return [
        (item.kind.name, str(item.address), item.port, [str(network) for network in item.source_ranges])
        for item in addresses_of(service, service.ports[0], family, rules(version, gates), at)
    ]


FULL = structs.replace(
    b.service(
        type="LoadBalancer",
        cluster_ips=["10.96.0.50", "fd00:10:96::50"],
        ports=[b.service_port(80, 8080, node_port=30080)],
        external_ips=["203.0.113.5", "fd00:203::5"],
    ),
    ingress=(
        LoadBalancerIngress(ip=b.address("203.0.113.9")),
        LoadBalancerIngress(hostname="lb.example.org"),
        LoadBalancerIngress(ip=b.address("203.0.113.10"), ip_mode="Proxy"),
        LoadBalancerIngress(ip=b.address("fd00:203::9"), ip_mode="VIP"),
    ),
    source_ranges=(b.network("198.51.100.0/24"),),
)


def test_every_address_of_a_family() -> None:
    assert kinds(FULL) == [
        ("CLUSTER_IP", "10.96.0.50", 80, []),
        ("EXTERNAL_IP", "203.0.113.5", 80, []),
        ("LOAD_BALANCER_IP", "203.0.113.9", 80, ["198.51.100.0/24"]),
        ("NODE_PORT", "192.168.56.11", 30080, []),
        ("NODE_PORT", "127.0.0.1", 30080, []),
    ]


def test_source_ranges_of_one_family_leave_the_other_open() -> None:
    assert kinds(FULL, Family.IPV6) == [
        ("CLUSTER_IP", "fd00:10:96::50", 80, []),
        ("EXTERNAL_IP", "fd00:203::5", 80, []),
        ("LOAD_BALANCER_IP", "fd00:203::9", 80, []),
        ("NODE_PORT", "fd00:56::11", 30080, []),
    ]


def test_a_family_without_cluster_ip_has_no_address_at_all() -> None:
    service = structs.replace(FULL, cluster_ips=(b.address("fd00:10:96::50"),))
    assert kinds(service) == []


@pytest.mark.parametrize(
    ("version", "gates", "served"),
    [
        ((1, 28), {}, True),
        ((1, 29), {}, True),
        ((1, 29), {"LoadBalancerIPMode": True}, False),
        ((1, 30), {}, False),
        ((1, 30), {"LoadBalancerIPMode": False}, True),
        ((1, 36), {}, False),
    ],
)
def test_ip_mode_proxy_is_left_alone_from_1_30(version: Version, gates: dict[str, bool], served: bool) -> None:
    assert ("203.0.113.10" in [address for _, address, _, _ in kinds(FULL, version=version, gates=gates)]) is served


def test_without_node_port_no_node_address() -> None:
    assert [kind for kind, *_ in kinds(b.service())] == ["CLUSTER_IP"]


def test_an_address_named_twice_is_one() -> None:
    assert [address for _, address, *_ in kinds(b.service(external_ips=["203.0.113.5", "203.0.113.5"]))] == [
        "10.96.0.50",
        "203.0.113.5",
    ]
    assert FrontendKind.EXTERNAL_IP.name == kinds(b.service(external_ips=["203.0.113.5"]))[1][0]


# -- NodePorts ---------------------------------------------------------------------------------------------------------


def open_at(
    chosen: tuple[str, ...] | None,
    family: Family = Family.IPV4,
    *,
    version: Version = (1, 36),
    localnet: str | None = "1",
    localhost: bool | None = None,
) -> list[str]:
    facts = host(localnet)
    network = node_network(family, facts, NODE, ())
    config = ProxyConfig(source="test", node_port_addresses=chosen, localhost_node_ports=localhost)
    return [str(item) for item in node_port_addresses(family, network, facts, config, rules(version))]


@pytest.mark.parametrize(
    ("chosen", "v4", "v6"),
    [
        (None, ["10.244.1.1", "192.168.56.11", "127.0.0.1"], ["fd00:56::11"]),
        ((), ["10.244.1.1", "192.168.56.11", "127.0.0.1"], ["fd00:56::11"]),
        (("all",), ["10.244.1.1", "192.168.56.11", "127.0.0.1"], ["fd00:56::11"]),
        (("0.0.0.0/0", "::/0"), ["10.244.1.1", "192.168.56.11", "127.0.0.1"], ["fd00:56::11"]),
        # A range of one family says nothing of the other.
        (("192.168.56.0/24",), ["192.168.56.11"], ["fd00:56::11"]),
        (("fd00:99::/64",), ["10.244.1.1", "192.168.56.11", "127.0.0.1"], []),
        (("192.168.56.0/24", "127.0.0.0/8"), ["192.168.56.11", "127.0.0.1"], ["fd00:56::11"]),
        (("172.16.0.0/12",), [], ["fd00:56::11"]),
        (("primary",), ["192.168.56.11"], ["fd00:56::11"]),
    ],
)
def test_node_port_addresses_by_configuration(chosen: tuple[str, ...] | None, v4: list[str], v6: list[str]) -> None:
    assert open_at(chosen) == v4
    assert open_at(chosen, Family.IPV6) == v6


@pytest.mark.parametrize(
    ("version", "localnet", "localhost", "expected"),
    [
        ((1, 36), "1", None, True),
        ((1, 36), "1", True, True),
        ((1, 36), "1", False, False),
        ((1, 26), "1", False, False),
        ((1, 25), "1", False, True),
        ((1, 36), "0", True, False),
        ((1, 20), None, None, False),
    ],
)
def test_node_ports_on_localhost(
    version: Version, localnet: str | None, localhost: bool | None, expected: bool
) -> None:
    assert ("127.0.0.1" in open_at(None, version=version, localnet=localnet, localhost=localhost)) is expected


def test_without_configuration_every_own_address_is_open() -> None:
    facts = host("0")
    network = node_network(Family.IPV4, facts, NODE, ())
    assert [str(item) for item in node_port_addresses(Family.IPV4, network, facts, None, rules())] == [
        "10.244.1.1",
        "192.168.56.11",
    ]
    unknown = structs.replace(rules(), node=None)
    config = ProxyConfig(source="test", node_port_addresses=("primary",))
    assert [str(item) for item in node_port_addresses(Family.IPV4, network, facts, config, unknown)] == [
        "10.244.1.1",
        "192.168.56.11",
    ]
