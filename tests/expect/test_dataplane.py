from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.expect.dataplane import NEWEST, NodeContext, detector_of, expected_data_plane
from kdiag.model.addresses import Family
from kdiag.model.cluster import ClusterState, Node
from kdiag.model.dataplane import DataPlane, FrontendKind, Position
from kdiag.model.host import HostFacts, InterfaceAddress, Route
from kdiag.model.proxy import DetectLocalMode, ProxyConfig, Version
from kdiag.walk.network import NodeNetwork, node_network
from tests.checks import builders as b

NODE = b.node("node01", addresses=["192.168.56.11", "fd00:56::11"], pod_cidrs=["10.244.1.0/24", "fd00:244:1::/64"])
HOST = HostFacts(
    addresses=tuple(
        InterfaceAddress(interface=link, address=b.address(text), prefix_length=24)
        for link, text in (
            ("lo", "127.0.0.1"),
            ("eth0", "192.168.56.11"),
            ("eth0", "fd00:56::11"),
            ("cni0", "10.244.1.1"),
        )
    ),
    routes=(
        Route(network=b.network("10.244.1.0/24"), interface="cni0"),
        Route(network=b.network("0.0.0.0/0"), interface="eth0"),
    ),
    sysctls={"net.ipv4.conf.all.route_localnet": "1"},
)


def networks(node: Node | None = NODE) -> dict[Family, NodeNetwork]:
    return {family: node_network(family, HOST, node, ()) for family in Family}


def context(
    config: ProxyConfig | None = None, *, node: Node | None = NODE, version: Version | None = (1, 36)
) -> NodeContext:
    return NodeContext(
        node_name="node01", node=node, host=HOST, config=config, version=version, networks=networks(node)
    )


def plane(state: ClusterState, given: NodeContext | None = None) -> DataPlane:
    return expected_data_plane(state, given or context())


def rows(found: DataPlane) -> list[tuple[str, str, str, str]]:
    return sorted(
        (frontend.label, frontend.kind.name, str(frontend.position), str(item.service_port))
        for frontend, item in found.behaviours.items()
    )


# -- the detector ------------------------------------------------------------------------------------------------------

CIDRS = (b.network("10.244.0.0/16"), b.network("fd00:244::/56"))


@pytest.mark.parametrize(
    ("config", "family", "expected"),
    [
        (None, Family.IPV4, ("None", None)),
        (ProxyConfig(source="t"), Family.IPV4, ("None", None)),
        (ProxyConfig(source="t", cluster_cidrs=CIDRS), Family.IPV4, ("10.244.0.0/16", None)),
        (ProxyConfig(source="t", cluster_cidrs=CIDRS), Family.IPV6, ("fd00:244::/56", None)),
        (ProxyConfig(source="t", cluster_cidrs=CIDRS[:1]), Family.IPV6, ("None", None)),
        (
            ProxyConfig(source="t", cluster_cidrs=CIDRS, detect_local_mode=DetectLocalMode.NODE_CIDR),
            Family.IPV6,
            ("fd00:244:1::/64", None),
        ),
        (
            ProxyConfig(source="t", detect_local_mode=DetectLocalMode.BRIDGE_INTERFACE, bridge_interface="cbr0"),
            Family.IPV4,
            ("None", "cbr0"),
        ),
        (
            ProxyConfig(
                source="t", detect_local_mode=DetectLocalMode.INTERFACE_NAME_PREFIX, interface_name_prefix="cali"
            ),
            Family.IPV4,
            ("None", "cali+"),
        ),
        (ProxyConfig(source="t", detect_local_mode=DetectLocalMode.INTERFACE_NAME_PREFIX), Family.IPV4, ("None", None)),
    ],
)
def test_the_local_detector_of_each_mode(
    config: ProxyConfig | None, family: Family, expected: tuple[str, str | None]
) -> None:
    found = detector_of(family, context(config))
    assert (str(found.network), found.interface) == expected


def test_node_cidr_without_a_node_or_a_range_detects_nothing() -> None:
    config = ProxyConfig(source="t", detect_local_mode=DetectLocalMode.NODE_CIDR)
    assert not detector_of(Family.IPV4, context(config, node=None)).works
    assert not detector_of(Family.IPV4, context(config, node=b.node("node01"))).works


def test_an_unknown_release_is_judged_as_the_newest() -> None:
    assert context(version=None).rules.version == NEWEST
    gated = context(ProxyConfig(source="t", feature_gates={"TopologyAwareHints": False})).rules
    assert gated.gate("TopologyAwareHints", on_from=(1, 24)) is False
    assert gated.node_name == "node01"


# -- the data plane ----------------------------------------------------------------------------------------------------


def test_every_port_of_every_served_service_from_every_position() -> None:
    state = b.cluster(
        b.service("web", ports=[b.service_port(80, name="http"), b.service_port(53, name="dns", protocol="UDP")]),
        b.service("headless", headless=True),
        b.endpoint_slice("web", b.endpoint("10.244.1.5"), ports=[b.slice_port(8080, "http")]),
    )
    assert rows(plane(state)) == [
        (f"10.96.0.50:{port}", "CLUSTER_IP", position, f"default/web:{name}")
        for port, name in (("53/UDP", "dns"), ("80/TCP", "http"))
        for position in ("external", "node", "pod")
    ]


def test_families_of_their_own() -> None:
    state = b.cluster(b.service("web", cluster_ips=["10.96.0.50", "fd00:96::50"]))
    labels = {label for label, *_ in rows(plane(state))}
    assert labels == {"10.96.0.50:80/TCP", "[fd00:96::50]:80/TCP"}


def test_a_node_port_on_localhost_is_for_the_node_alone() -> None:
    state = b.cluster(b.service("web", type="NodePort", ports=[b.service_port(80, node_port=30080)]))
    found = plane(state)
    positions = {
        frontend.position
        for frontend in found.behaviours
        if str(frontend.address) == "127.0.0.1" and frontend.port == 30080
    }
    assert positions == {Position.NODE}
    kinds = {frontend.kind for frontend in found.behaviours if frontend.port == 30080}
    assert kinds == {FrontendKind.NODE_PORT}


def test_two_services_at_one_address_leave_it_to_the_first_by_name() -> None:
    state = b.cluster(b.service("zebra"), b.service("ant"), b.service("bee"))
    assert {service for *_, service in rows(plane(state))} == {"default/ant"}


def test_a_family_without_clients_of_a_position_has_no_frontend_there() -> None:
    """Without pods of a family on the node there is nobody at the position."""
    state = b.cluster(b.service("web"))
    lonely = context(node=b.node("node01"))
    assert {position for _, _, position, _ in rows(plane(state, lonely))} == {"node", "external"}


def test_masquerade_all_is_taken_from_the_configuration() -> None:
    state = b.cluster(b.service("web"), b.endpoint_slice("web", b.endpoint("10.244.1.5")))
    config = ProxyConfig(source="t", cluster_cidrs=CIDRS, masquerade_all=True)

    def masquerades(given: ProxyConfig) -> set[str]:
        return {
            str(fate.masquerade)
            for frontend, item in plane(state, context(given)).behaviours.items()
            if frontend.position is Position.POD
            for case in item.cases
            if case.clients.addresses.size > 1
            for outcome in case.outcomes
            for fate, _ in outcome.shares
        }

    assert masquerades(config) == {"proxy"}
    assert masquerades(structs.replace(config, masquerade_all=None)) == {"no"}


def test_hopelessly_contradictory_slices_leave_a_frontend_without_cases() -> None:
    ready = [b.endpoint(f"10.244.1.{index}", ready=True) for index in range(10, 20)]
    not_ready = [b.endpoint(f"10.244.1.{index}", ready=False) for index in range(10, 20)]
    state = b.cluster(
        b.service("web"),
        b.endpoint_slice("web", *ready, name="a"),
        b.endpoint_slice("web", *not_ready, name="b"),
    )
    found = plane(state)
    assert len(found.behaviours) == 3
    assert all(item.cases == () for item in found.behaviours.values())
