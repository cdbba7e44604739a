"""KD101: ranges that overlap, and what only looks like it."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.checks.range_overlap import CHECK
from kdiag.model.cluster import Node, Pod, Service
from kdiag.model.facts import Fact, FactKind
from kdiag.model.host import HostFacts, InterfaceAddress, Route
from kdiag.model.report import Finding, Severity
from kdiag.model.view import NodeView, View
from tests.checks.builders import address, cluster, daemon_set, fact, network, node, node_view, pod, service, view

SERVICES = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12", flag="--service-cluster-ip-range", line=3)
PODS = fact(FactKind.POD_RANGE, "10.244.0.0/16", component="kube-controller-manager", flag="--cluster-cidr")


def pods(text: str, component: str = "kube-controller-manager") -> Fact:
    return fact(FactKind.POD_RANGE, text, component=component, flag="--cluster-cidr")


def found(given: View) -> list[Finding]:
    return list(CHECK.run(given))


def only(given: View) -> Finding:
    (finding,) = found(given)
    return finding


def node_range(name: str, text: str) -> Fact:
    return fact(FactKind.NODE_POD_RANGE, text, component=f"Node {name}", node=name, flag="spec.podCIDRs")


def spread(*prefixes: str) -> list[Pod]:
    """Six pods in each of the ranges, on node01, node02, …"""
    return [
        pod(f"p{index}-{number}", ips=[f"{prefix}.{number + 2}"], node=f"node0{index}")
        for index, prefix in enumerate(prefixes, start=1)
        for number in range(6)
    ]


def test_ranges_that_are_apart() -> None:
    assert found(view(cluster(node()), facts=[SERVICES, PODS])) == []


def test_services_and_pods_overlap() -> None:
    finding = only(view(cluster(), facts=[SERVICES, pods("10.100.0.0/16"), pods("10.100.0.0/16", "kubeadm")]))
    assert finding.severity is Severity.WARNING
    assert finding.actual == "10.96.0.0/12 (Services) and 10.100.0.0/16 (pods) share 10.100.0.0/16"
    assert finding.message.split("\n")[1:] == [
        "- Service range 10.96.0.0/12: kube-apiserver --service-cluster-ip-range",
        "- pod range 10.100.0.0/16: kube-controller-manager --cluster-cidr, kubeadm --cluster-cidr",
    ]
    assert (finding.evidence[0].source, finding.evidence[0].line) == ("cluster/pods.json", 3)


def test_families_are_compared_apart() -> None:
    dual = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12,fd00:10:96::/112")
    finding = only(view(cluster(), facts=[dual, pods("10.244.0.0/16,fd00:10::/32")]))
    assert "fd00:10:96::/112" in str(finding.actual)


def test_a_cluster_ip_that_a_pod_has_is_an_error() -> None:
    state = cluster(service(cluster_ips=["10.100.1.5"]), pod(ips=["10.100.1.5"]))
    finding = only(view(state, facts=[SERVICES, pods("10.100.0.0/16")]))
    assert finding.severity is Severity.ERROR
    assert "10.100.1.5 of default/web" in finding.message
    assert finding.affected[0].service == "default/web"


def nodes_in_services() -> tuple[list[Node], list[Fact]]:
    members = [node("node01", pod_cidrs=["10.100.1.0/24"]), node("node02", pod_cidrs=["10.100.2.0/24"])]
    return members, [node_range("node01", "10.100.1.0/24"), node_range("node02", "10.100.2.0/24")]


def test_a_cluster_ip_in_the_range_of_a_node_is_an_error() -> None:
    members, ranges = nodes_in_services()
    services = [service(cluster_ips=["10.100.2.200", "fd00::5"]), service("b", cluster_ips=["10.100.3.1"])]
    state = cluster(members, spread("10.100.1", "10.100.2"), services)
    finding = only(view(state, facts=[SERVICES, pods("10.100.0.0/16"), *ranges]))
    assert finding.severity is Severity.ERROR
    assert "podCIDR of node02" in finding.message
    assert {item.node for item in finding.affected} == {None, "node01", "node02"}


def test_node_ranges_without_a_cluster_wide_one_are_one_finding() -> None:
    members, ranges = nodes_in_services()
    finding = only(view(cluster(members, spread("10.100.1", "10.100.2")), facts=[SERVICES, *ranges]))
    assert finding.severity is Severity.WARNING
    assert "10.100.1.0/24, 10.100.2.0/24" in str(finding.actual)


def test_an_allocator_that_knows_the_service_range_is_info() -> None:
    told = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12", component="kube-controller-manager")
    finding = only(view(cluster(), facts=[SERVICES, told, pods("10.0.0.0/8")]))
    assert finding.severity is Severity.INFO


def test_a_pool_is_not_spared_by_the_controller_manager() -> None:
    told = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12", component="kube-controller-manager")
    pool = fact(FactKind.CNI_RANGE, "10.0.0.0/8", component="Cilium")
    assert only(view(cluster(), facts=[SERVICES, told, pool])).severity is Severity.WARNING


def test_ranges_that_nobody_gives_out_are_left_alone() -> None:
    proxy = pods("10.100.0.0/16", "kube-proxy")
    assert found(view(cluster(), facts=[SERVICES, proxy])) == []
    calico = cluster(daemon_set("kube-system/calico-node"), node(pod_cidrs=["10.100.1.0/24"]))
    assert found(view(calico, facts=[SERVICES, node_range("node01", "10.100.1.0/24")])) == []


def test_node_addresses_in_the_service_range() -> None:
    state = cluster(node("a", addresses=["10.97.0.1", "fd00::1"]), node("b", addresses=["192.168.0.1"]))
    finding = only(view(state, facts=[SERVICES]))
    assert (finding.severity, finding.node, finding.actual) == (Severity.ERROR, "a", "10.97.0.1 of a")


@pytest.mark.parametrize(("component", "severity"), [("kubeadm", Severity.ERROR), ("kube-proxy", Severity.WARNING)])
def test_node_addresses_in_the_pod_range(component: str, severity: Severity) -> None:
    state = cluster(node("a", addresses=["10.244.3.1"]), node("b", addresses=["10.244.3.2"]))
    finding = only(view(state, facts=[SERVICES, pods("10.244.0.0/16", component)]))
    assert (finding.severity, finding.node) == (severity, None)
    assert [item.node for item in finding.affected] == ["a", "b"]


def test_pods_inside_the_nodes_network_by_design() -> None:
    members = [node("a", addresses=["10.244.3.1"])]
    assert found(view(cluster(members, daemon_set("kube-system/aws-node")), facts=[SERVICES, PODS])) == []
    shared = node_view("a", api_node=members[0], host=hosted(("eth0", "10.244.3.1", 16)))
    state = cluster(members, pod(ips=["10.244.3.9"], node="a"))
    assert found(view(state, facts=[SERVICES, PODS], nodes=[shared])) == []


def test_virtual_nodes_are_no_machines() -> None:
    assert (
        found(view(cluster(node("a", addresses=["10.244.3.1"], labels={"type": "virtual-kubelet"})), facts=[PODS]))
        == []
    )


def hosted(
    *addresses: tuple[str, str, int], up: bool = True, running: bool = True, routes: list[Route] | None = None
) -> HostFacts:
    return HostFacts(
        addresses=tuple(
            InterfaceAddress(interface=name, address=address(text), prefix_length=length, up=up, running=running)
            for name, text, length in addresses
        ),
        routes=tuple(routes) if routes is not None else None,
        sources={"addresses": "nodes/n/ip-addr.json", "routes": "nodes/n/ip-route.json"},
    )


def on(name: str, facts: HostFacts, *, pod_cidr: str | None = None) -> NodeView:
    return node_view(name, api_node=node(name, pod_cidrs=[pod_cidr] if pod_cidr else []), host=facts)


def with_hosts(*nodes: NodeView, extra: list[Pod | Service] | None = None, facts: list[Fact] | None = None) -> View:
    state = cluster([item.node for item in nodes if item.node is not None], extra or [])
    return view(state, nodes=nodes, facts=facts or [SERVICES, PODS])


def test_a_bridge_in_the_pod_range() -> None:
    bridge = hosted(("docker0", "10.244.200.1", 24))
    finding = only(with_hosts(on("a", bridge, pod_cidr="10.244.1.0/24"), on("b", bridge)))
    assert finding.severity is Severity.WARNING
    assert [item.node for item in finding.affected] == ["a", "b"]
    assert "docker0" in finding.message
    assert finding.evidence[-1].source == "nodes/n/ip-addr.json"
    hit = with_hosts(on("a", bridge), extra=[pod(ips=["10.244.200.9"], node="b")])
    assert only(hit).severity is Severity.ERROR
    assert "pod default/web-1" in only(hit).message


def test_one_node_and_several_are_not_called_alike() -> None:
    bridge = hosted(("docker0", "10.244.200.1", 24))
    one = only(with_hosts(on("a", bridge)))
    several = only(with_hosts(on("a", bridge), on("b", bridge)))
    assert "Packets from that node to a pod that gets such an address go to docker0 and are lost." in one.message
    assert "Packets from those nodes to a pod" in several.message
    assert one.message.endswith("\n- pod range 10.244.0.0/16: kube-controller-manager --cluster-cidr")


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ("docker0", 'Give docker0 another range ("bip" in /etc/docker/daemon.json), or remove it'),
        ("docker_gwbridge", "default-address-pools"),
        ("br-0123456789ab", "default-address-pools"),
        ("virbr0", "Give virbr0 another range, or remove it"),
        ("eth1", "Move the network at eth1"),
    ],
)
def test_the_hint_is_for_the_network_that_is_in_the_way(interface: str, words: str) -> None:
    assert words in only(with_hosts(on("a", hosted((interface, "10.100.3.1", 24))))).hint


def test_many_pod_ranges_are_bounded_in_the_message() -> None:
    members = [node(f"n{number}", pod_cidrs=[f"10.100.{number}.0/24"]) for number in range(1, 8)]
    ranges = [node_range(f"n{number}", f"10.100.{number}.0/24") for number in range(1, 8)]
    message = only(view(cluster(members, spread("10.100.1")), facts=[SERVICES, *ranges])).message
    assert message.count("- pod range") == 5
    assert message.endswith("\n- and 2 more")


def test_a_default_is_called_so() -> None:
    default = fact(FactKind.SERVICE_RANGE, "10.96.0.0/12", flag="default")
    finding = only(view(cluster(), facts=[default, pods("10.100.0.0/16")]))
    assert "- Service range 10.96.0.0/12: kube-apiserver (default)\n" in finding.message


def test_an_unused_bridge_is_info_and_one_elsewhere_nothing() -> None:
    assert only(with_hosts(on("a", hosted(("docker0", "10.100.0.1", 16), running=False)))).severity is Severity.INFO
    assert only(with_hosts(on("a", hosted(("docker0", "10.100.0.1", 16), up=False)))).severity is Severity.INFO
    assert found(with_hosts(on("a", hosted(("docker0", "172.17.0.1", 16))))) == []


def test_the_bridge_that_pods_stand_on() -> None:
    bridge = hosted(("docker0", "10.244.1.1", 24))
    assert found(with_hosts(on("a", bridge, pod_cidr="10.244.1.0/24"))) == []
    assert found(with_hosts(on("a", bridge), extra=[pod(ips=["10.244.1.9"], node="a")])) == []


def test_a_link_of_a_network_that_nodes_inside_already_tell_of() -> None:
    facts = hosted(("eth0", "10.97.0.1", 16))
    own = node_view("a", api_node=node("a", addresses=["10.97.0.1"]), host=facts)
    finding = only(view(cluster(node("a", addresses=["10.97.0.1"])), nodes=[own], facts=[SERVICES]))
    assert finding.title == "Node addresses lie in the Service range"


def test_a_bridge_that_hides_a_node() -> None:
    finding = only(with_hosts(on("a", hosted(("virbr0", "192.168.56.1", 24)))))
    assert finding.severity is Severity.ERROR
    assert "192.168.56.11 of node a" in finding.message


def test_links_in_the_ranges() -> None:
    finding = only(with_hosts(on("a", hosted(("eth1", "10.100.3.1", 24)))))
    assert finding.severity is Severity.WARNING
    assert "10.100.3.0/24 at eth1" in finding.message
    assert (
        only(with_hosts(on("a", hosted(("vpn0", "10.244.9.1", 24))))).title
        == "A network of the nodes overlaps the pod range"
    )


@pytest.mark.parametrize(
    "facts",
    [
        hosted(("cni0", "10.244.1.1", 24)),
        hosted(("mybridge", "10.244.1.1", 24)),
        hosted(("kube-ipvs0", "10.96.0.1", 32)),
        hosted(("lo", "10.96.0.1", 24)),
        hosted(("eth1", "10.100.3.1", 24), up=False),
        hosted(("eth1", "10.100.3.1", 32)),
        hosted(("eth0", "192.168.56.11", 24)),
    ],
)
def test_links_of_the_cluster_and_harmless_ones(facts: HostFacts) -> None:
    given = with_hosts(on("a", facts, pod_cidr="10.244.1.0/24"), extra=[pod(ips=["10.244.1.9"], node="a")])
    assert found(given) == []


def test_an_odd_bridge_with_pods_on_it_belongs_to_the_cni() -> None:
    assert (
        found(with_hosts(on("a", hosted(("odd0", "10.244.1.1", 24))), extra=[pod(ips=["10.244.1.9"], node="a")])) == []
    )


def via(
    text: str,
    gateway: str | None,
    interface: str | None = "eth0",
    protocol: str | None = "static",
    kind: str = "unicast",
) -> Route:
    return Route(
        network=network(text),
        interface=interface,
        gateway=address(gateway) if gateway else None,
        protocol=protocol,
        type=kind,
    )


def test_a_static_route_into_a_range() -> None:
    finding = only(with_hosts(on("a", hosted(routes=[via("10.97.5.0/24", "192.168.56.1")]))))
    assert finding.severity is Severity.WARNING
    assert "10.97.5.0/24 via 192.168.56.1 dev eth0" in finding.message
    assert finding.hint.startswith("Delete the route if nothing needs it.")
    assert finding.evidence[-1].source == "nodes/n/ip-route.json"
    into_pods = only(with_hosts(on("a", hosted(routes=[via("10.244.77.0/24", "192.168.56.1")]))))
    assert into_pods.severity is Severity.WARNING
    assert "go by that route and are lost" in into_pods.message


@pytest.mark.parametrize(
    "route",
    [
        via("0.0.0.0/0", "192.168.56.1"),
        via("10.0.0.0/8", "192.168.56.1"),
        via("10.96.0.0/12", "192.168.56.1"),
        via("10.97.5.0/24", None),
        via("10.97.5.0/24", "192.168.56.1", "antrea-gw0"),
        via("10.97.5.0/24", "192.168.56.1", "docker0"),
        via("10.97.5.0/24", "192.168.56.1", None),
        via("10.97.5.0/24", "169.254.0.4"),
        via("10.97.5.0/24", "192.168.56.11"),
        via("10.97.5.0/24", "192.168.56.1", protocol="bird"),
        via("10.97.5.0/24", "192.168.56.1", kind="blackhole"),
        via("10.244.2.0/24", "10.244.2.0", "eth0"),
        via("10.244.1.0/24", "192.168.56.1"),
        via("10.244.0.0/20", "192.168.56.1"),
        via("10.244.50.0/24", "192.168.56.1"),
    ],
)
def test_routes_that_are_no_danger(route: Route) -> None:
    state = on("a", hosted(routes=[route]), pod_cidr="10.244.1.0/24")
    assert found(with_hosts(state, extra=[pod(ips=["10.244.50.9"], node="b")])) == []


def test_reserved_ranges() -> None:
    findings = found(
        view(cluster(node()), facts=[SERVICES, PODS], reserved=["10.100.0.0/16", "192.168.0.0/16", "10.244.0.0/24"])
    )
    assert [(item.severity, item.actual) for item in findings] == [
        (Severity.WARNING, "10.96.0.0/12 shares 10.100.0.0/16"),
        (Severity.WARNING, "10.244.0.0/16 shares 10.244.0.0/24"),
    ]


def test_without_a_source_file_there_is_no_evidence_of_the_host() -> None:
    bare = structs.replace(hosted(("docker0", "10.100.0.1", 16)), sources={})
    assert all(item.source == "cluster/pods.json" for item in only(with_hosts(on("a", bare))).evidence)
