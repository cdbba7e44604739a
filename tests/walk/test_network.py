"""A node's network: which addresses are its own, which way packets go, and who its clients are."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.cluster import Pod
from kdiag.model.dataplane import ClientSet, Position
from kdiag.model.host import HostFacts, Interface
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.walk.network import MANY_INTERFACES, NodeNetwork, node_network
from tests.walk.setting import HOST, NODE, address, addresses, interface_address, network_of, node, route


def _network(host: HostFacts = HOST, family: Family = Family.IPV4, *pods: Pod) -> NodeNetwork:
    return node_network(family, host, NODE, pods)


def _pod(*ips: str, host_network: bool = False, phase: str = "Running") -> Pod:
    return Pod(
        meta=Metadata(key=ObjectKey(namespace="default", name=f"pod-{ips[0]}")),
        ips=tuple(address(text) for text in ips),
        host_network=host_network,
        phase=phase,
    )


def _by_interface(clients: tuple[ClientSet, ...]) -> dict[str, AddressSet]:
    return {",".join(sorted(item.interfaces or ())): item.addresses for item in clients}


class TestAddresses:
    def test_loopback_is_local_and_not_own(self) -> None:
        network = _network()
        assert network.local == addresses("127.0.0.0/8", "192.168.56.11", "10.244.1.1")
        assert network.own == addresses("192.168.56.11", "10.244.1.1")
        assert network.local_known

    def test_link_local_addresses_are_no_usual_sources(self) -> None:
        network = _network(family=Family.IPV6)
        assert address("fe80::11") in network.local
        assert network.own == addresses("fd00:56::11", "fd00:244:1::1", family=Family.IPV6)
        assert network.primaries["eth0"] == address("fd00:56::11")

    def test_service_addresses_on_an_interface_are_local_and_not_own(self) -> None:
        more = (interface_address("kube-ipvs0", "10.96.0.1/32"), interface_address("nodelocaldns", "169.254.20.10/32"))
        network = _network(replace(HOST, addresses=(*HOST.addresses, *more)))  # type: ignore[misc]
        assert address("10.96.0.1") in network.local
        assert network.own == _network().own

    def test_without_ip_addr_the_node_object_fills_in(self) -> None:
        known = node(
            addresses=[
                ("InternalIP", "10.0.0.5"),
                ("ExternalIP", "203.0.113.5"),
                ("Hostname", "node01"),
                ("InternalIP", "?"),
            ]
        )
        network = node_network(Family.IPV4, HostFacts(), known, ())
        assert not network.local_known
        assert network.local == addresses("127.0.0.0/8", "10.0.0.5", "203.0.113.5")
        assert network.own == addresses("10.0.0.5", "203.0.113.5")
        assert network.routes is None

    def test_an_external_address_is_not_believed_where_ip_addr_was_recorded(self) -> None:
        network = node_network(Family.IPV4, HOST, node(addresses=[("ExternalIP", "203.0.113.5")]), ())
        assert address("203.0.113.5") not in network.local

    def test_nothing_known_is_nothing_own(self) -> None:
        network = node_network(Family.IPV4, HostFacts(), None, ())
        assert not network.own
        assert network.clients(Position.NODE, address("10.96.0.1")) == ()
        assert network.source_for(address("10.96.0.1")) is None


class TestRoutes:
    HOST = replace(
        HOST,
        routes=(
            route("0.0.0.0/0", "eth0", gateway="192.168.56.1", metric=100),
            route("0.0.0.0/0", "wlan0", gateway="10.9.0.1", metric=600),
            route("192.168.56.0/24", "eth0", source="192.168.56.11"),
            route("10.244.1.0/24", "cni0", source="10.244.1.1"),
            route("10.244.2.0/24", "flannel.1", gateway="10.244.2.0"),
            route("10.244.3.0/24", "flannel.1"),
            route("10.8.0.0/16", "tun0", gateway="172.31.0.9"),
            route("10.7.0.0/16", None, kind="blackhole"),
            route("fd00::/8", "eth0"),
        ),
        addresses=(
            *(HOST.addresses or ()),
            interface_address("flannel.1", "10.244.1.0/32"),
            interface_address("flannel.1", "10.244.99.0/32"),
        ),
    )

    @pytest.mark.parametrize(
        ("destination", "interface"),
        [("10.244.1.5", "cni0"), ("10.244.2.5", "flannel.1"), ("8.8.8.8", "eth0"), ("10.7.0.1", None)],
    )
    def test_the_narrowest_route_then_the_lowest_metric(self, destination: str, interface: str | None) -> None:
        found = _network(self.HOST).route(int(address(destination)))
        assert found is not None
        assert found.interface == interface

    @pytest.mark.parametrize(
        ("destination", "source"),
        [
            ("10.244.1.5", "10.244.1.1"),  # the route's preferred source
            ("8.8.8.8", "192.168.56.11"),  # the one on the gateway's network
            ("10.244.2.5", "10.244.1.0"),  # a gateway behind its own route: the first on the interface
            ("10.244.3.5", "10.244.1.0"),  # no gateway
            ("10.244.1.1", "10.244.1.1"),  # its own address
            ("10.8.0.1", None),  # an interface without addresses
            ("10.7.0.1", None),
        ],
    )
    def test_the_source_of_what_the_node_sends(self, destination: str, source: str | None) -> None:
        found = _network(self.HOST).source_for(address(destination))
        assert found == (address(source) if source else None)

    def test_no_route_at_all(self) -> None:
        network = _network(replace(HOST, routes=()))
        assert network.route(int(address("8.8.8.8"))) is None
        assert network.source_for(address("8.8.8.8")) is None


class TestClients:
    def test_pods_come_in_by_the_interface_that_leads_to_them(self) -> None:
        pods = _network().pod_clients
        assert _by_interface(pods) == {"cni0": addresses("10.244.1.0/24") - addresses("10.244.1.1")}

    def test_the_outside_is_everybody_else_who_may_send(self) -> None:
        outside = _by_interface(_network().external_clients)
        assert set(outside) == {"eth0", "flannel.1"}
        assert address("8.8.8.8") in outside["eth0"]
        assert address("10.244.2.5") in outside["flannel.1"]
        for text in ("127.0.0.1", "224.0.0.1", "0.0.0.1", "10.244.1.5", "192.168.56.11"):
            assert not any(address(text) in held for held in outside.values())

    def test_service_addresses_are_nobodys_source(self) -> None:
        network = node_network(Family.IPV4, HOST, NODE, (), [network_of("10.96.0.0/12")])
        assert not any(address("10.96.0.1") in item.addresses for item in network.external_clients)

    def test_the_node_itself(self) -> None:
        network = _network()
        (own,) = network.clients(Position.NODE, address("10.96.0.10"))
        assert own == ClientSet(addresses=network.own, interfaces=frozenset({"lo"}))
        (loopback,) = network.clients(Position.NODE, address("127.0.0.1"))
        assert loopback.addresses == addresses("127.0.0.1")
        assert network.clients(Position.POD, address("10.96.0.10")) == network.pod_clients
        assert network.clients(Position.EXTERNAL, address("10.96.0.10")) == network.external_clients

    def test_running_pods_are_clients_wherever_their_address_is(self) -> None:
        network = _network(HOST, Family.IPV4, _pod("10.244.1.5"), _pod("10.77.0.5"))
        assert network.pods == (addresses("10.244.1.0/24", "10.77.0.5") - addresses("10.244.1.1"))

    def test_a_pod_range_that_no_pod_is_in_means_nothing(self) -> None:
        """Calico and the VPC CNIs ignore spec.podCIDR."""
        network = _network(HOST, Family.IPV4, _pod("10.77.0.5"), _pod("10.77.0.6", "fd00::6"))
        assert network.pods == addresses("10.77.0.5", "10.77.0.6")

    @pytest.mark.parametrize(
        "pod", [_pod("192.168.56.11", host_network=True), _pod("10.77.0.5", phase="Succeeded"), _pod("fd00:1::5")]
    )
    def test_who_is_no_client_pod(self, pod: Pod) -> None:
        assert _network(HOST, Family.IPV4, pod).pods == _network().pods

    def test_without_routes_interfaces_are_not_known(self) -> None:
        network = _network(replace(HOST, routes=None))
        assert [item.interfaces for item in network.pod_clients] == [None]
        assert [item.interfaces for item in network.external_clients] == [None]

    def test_networks_of_containers_that_are_no_pods_are_left_out(self) -> None:
        host = replace(
            HOST,
            routes=(*(HOST.routes or ()), route("172.17.0.0/16", "docker0"), route("10.1.0.0/16", "eth9")),
            interfaces=(*(HOST.interfaces or ()), Interface(name="docker0"), Interface(name="eth9", up=False)),
        )
        outside = _by_interface(_network(host).external_clients)
        assert set(outside) == {"eth0", "flannel.1"}
        assert not any(address("172.17.0.5") in held for held in outside.values())

    def test_what_is_routed_nowhere_is_no_client(self) -> None:
        host = replace(HOST, routes=(*(HOST.routes or ()), route("10.9.0.0/16", None, kind="blackhole")))
        outside = _by_interface(_network(host).external_clients)
        assert not any(address("10.9.0.5") in held for held in outside.values())

    def test_pods_that_share_the_default_interface_do_not_hide_the_outside(self) -> None:
        """ENI-style CNIs: pods and everybody else come in by one interface."""
        host = replace(HOST, routes=(route("0.0.0.0/0", "eth0"),))
        network = _network(host)
        assert set(_by_interface(network.pod_clients)) == {"eth0"}
        assert set(_by_interface(network.external_clients)) == {"eth0"}

    def test_many_interfaces_are_judged_as_one(self) -> None:
        routes = tuple(route(f"10.244.1.{index}/32", f"cali{index}") for index in range(10, 20))
        network = _network(replace(HOST, routes=(*routes, route("0.0.0.0/0", "eth0"))))
        assert len(routes) > MANY_INTERFACES
        (pods,) = network.pod_clients
        assert pods.interfaces == frozenset({"eth0", *(f"cali{index}" for index in range(10, 20))})
        assert pods.addresses == network.pods

    def test_a_node_without_pods_has_no_pod_clients(self) -> None:
        assert node_network(Family.IPV4, HOST, node(), ()).pod_clients == ()


class TestBridges:
    def test_bridges_are_known_by_kind_and_by_name(self) -> None:
        host = replace(
            HOST, interfaces=(Interface(name="mybr", kind="bridge"), Interface(name="cbr0"), Interface(name="eth0"))
        )
        assert _network(host).bridges == {"mybr", "cbr0"}

    @pytest.mark.parametrize(("value", "seen"), [("1", True), ("0", False), (None, True)])
    @pytest.mark.parametrize(("family", "name"), [(Family.IPV4, "iptables"), (Family.IPV6, "ip6tables")])
    def test_whether_netfilter_sees_them(self, family: Family, name: str, value: str | None, seen: bool) -> None:
        sysctls = {} if value is None else {f"net.bridge.bridge-nf-call-{name}": value}
        assert _network(replace(HOST, sysctls=sysctls), family).bridge_netfilter is seen
