from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.compare import compare
from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Disposition, FrontendKind, Position
from kdiag.model.difference import CauseKind
from kdiag.model.proxy import ProxyMode
from kdiag.model.rules import Backend, Ruleset
from kdiag.planes.interface import PlaneReading, ReadingOrder
from kdiag.planes.iptables import PLANE, choose
from tests.checks import builders as b
from tests.planes.builders import CONFIG, FILTER, NAT, evidence, networks, order, read, ruleset, without


def served(reading: PlaneReading, given: ReadingOrder) -> set[tuple[str, str, str]]:
    """What the rules serve and nobody expects: address, kind, and the Service that a comment names."""
    return {
        (frontend.label, frontend.kind.name, str(item.service_port))
        for frontend, item in reading.data_plane.behaviours.items()
        if frontend not in given.expected.behaviours
    }


# -- reading -----------------------------------------------------------------------------------------------------------


def test_every_expected_frontend_is_read() -> None:
    given = order()
    reading = read(ruleset(), given=given)
    assert reading.data_plane.behaviours.keys() == given.expected.behaviours.keys()
    assert (reading.conditions, reading.gaps, reading.filter_seen) == ((), (), True)
    assert compare(given.expected, reading.data_plane).groups == ()


def test_without_rules_there_is_a_gap_and_nothing_is_read() -> None:
    reading = read()
    assert reading.data_plane.behaviours == {}
    assert [(gap.node, gap.subject, gap.reason) for gap in reading.gaps] == [
        ("node01", "IPv4 rules", "no readable iptables-save was recorded")
    ]
    assert read(given=order(b.cluster())).gaps == ()


def test_without_nat_nothing_is_read_and_without_filter_less_is_told() -> None:
    no_nat = structs.replace(ruleset(FILTER), covers=frozenset({"filter"}))
    reading = read(no_nat)
    assert (reading.data_plane.behaviours, [gap.subject for gap in reading.gaps]) == ({}, ["IPv4 nat table"])
    nat_only = structs.replace(ruleset(NAT), covers=frozenset({"nat"}))
    reading = read(nat_only)
    assert (reading.filter_seen, [gap.subject for gap in reading.gaps]) == (False, ["IPv4 filter table"])
    groups = compare(order().expected, reading.data_plane, filter_seen=False, conditions=reading.conditions).groups
    assert groups == ()


def test_where_kube_proxy_never_wrote_nothing_is_walked() -> None:
    reading = read(ruleset("*nat\nCOMMIT\n*filter\nCOMMIT\n"))
    assert reading.data_plane.behaviours == {}
    assert [item.cause for item in reading.conditions] == [CauseKind.NEVER_WROTE]


def test_both_backends_are_seen() -> None:
    legacy = ruleset(backend=Backend.LEGACY, source="legacy")
    reading = read(ruleset(), legacy)
    assert [item.cause for item in reading.conditions] == [CauseKind.TWO_BACKENDS]


# -- which backend -----------------------------------------------------------------------------------------------------

HOOKED = ruleset(source="hooked")
UNHOOKED = ruleset(without(NAT, "-A PREROUTING", "-A OUTPUT"), source="unhooked")
EMPTY = ruleset("", source="empty")
LEGACY = ruleset(backend=Backend.LEGACY, source="legacy")


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ([EMPTY, HOOKED], "hooked"),
        ([UNHOOKED, structs.replace(HOOKED, backend=Backend.LEGACY)], "hooked"),
        ([EMPTY, UNHOOKED], "unhooked"),
        ([LEGACY, HOOKED], "hooked"),
        ([EMPTY, LEGACY], "legacy"),
    ],
)
def test_the_backend_that_leads_to_services_is_walked(given: list[Ruleset], first: str) -> None:
    chosen, others = choose(given)
    assert chosen.source == first
    assert len(others) == len(given) - 1


# -- what nobody expects -----------------------------------------------------------------------------------------------


def with_nat(*rules: str) -> str:
    head, tail = NAT.split("-A KUBE-SERVICES -m addrtype", 1)
    return FILTER + head + "".join(f"{rule}\n" for rule in rules) + "-A KUBE-SERVICES -m addrtype" + tail


TO_WEB = '-p tcp -m comment --comment "{}" -m tcp --dport {} -j KUBE-SVC-WEB'


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "-A KUBE-SERVICES -d 10.96.9.9/32 " + TO_WEB.format("default/gone:http cluster IP", 80),
            ("10.96.9.9:80/TCP", "CLUSTER_IP", "default/gone:http"),
        ),
        (
            "-A KUBE-SERVICES -d 203.0.113.9/32 " + TO_WEB.format("default/gone external IP", 80),
            ("203.0.113.9:80/TCP", "EXTERNAL_IP", "default/gone"),
        ),
        (
            "-A KUBE-SERVICES -d 203.0.113.9/32 " + TO_WEB.format("default/gone loadbalancer IP", 80),
            ("203.0.113.9:80/TCP", "LOAD_BALANCER_IP", "default/gone"),
        ),
        (
            "-A KUBE-SERVICES -d 10.96.9.9/32 -p udp -m udp --dport 53 -j KUBE-SVC-WEB",
            ("10.96.9.9:53/UDP", "CLUSTER_IP", "None"),
        ),
        (
            "-A KUBE-SERVICES -d 10.96.9.9/32 " + TO_WEB.format("what is this", 80),
            ("10.96.9.9:80/TCP", "CLUSTER_IP", "None"),
        ),
        (
            "-A KUBE-NODEPORTS " + TO_WEB.format("default/gone", 31111),
            ("10.244.1.1:31111/TCP", "NODE_PORT", "default/gone"),
        ),
        ("-A KUBE-SERVICES -p tcp -m tcp --dport 31112 -j DROP", ("10.244.1.1:31112/TCP", "NODE_PORT", "None")),
    ],
)
def test_addresses_that_rules_serve_and_no_service_has(rule: str, expected: tuple[str, str, str]) -> None:
    given = order()
    found = read(ruleset(with_nat(rule)), given=given)
    assert served(found, given) == {expected}


@pytest.mark.parametrize(
    "rule",
    [
        "-A KUBE-SERVICES -d 10.96.0.50/32 " + TO_WEB.format("default/web cluster IP", 80),
        "-A KUBE-SERVICES ! -d 10.96.9.9/32 " + TO_WEB.format("default/gone cluster IP", 80),
        "-A KUBE-SERVICES -d 10.96.9.0/24 " + TO_WEB.format("default/gone cluster IP", 80),
        "-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -j KUBE-SVC-WEB",
        "-A KUBE-SERVICES -d 10.96.9.9/32 -p icmp -j KUBE-SVC-WEB",
        "-A KUBE-SERVICES -d 10.96.9.9/32 ! -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB",
        "-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m tcp ! --dport 80 -j KUBE-SVC-WEB",
        "-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m tcp --dport 80 -j SOMEBODY",
        "-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m tcp --dport 80",
        "-A KUBE-NODEPORTS " + TO_WEB.format("default/web", 30080),
    ],
)
def test_rules_that_show_no_other_address(rule: str) -> None:
    given = order()
    assert served(read(ruleset(with_nat(rule)), given=given), given) == set()


def test_a_node_port_that_is_closed_on_this_node_is_a_services_all_the_same() -> None:
    """nodePortAddresses names no address of the node, and the rules for the NodePort are there."""
    elsewhere = structs.replace(CONFIG, node_port_addresses=("172.16.0.0/12",))
    given = order(config=elsewhere, node_ports=frozenset({(Family.IPV4, Protocol.TCP, 30080)}))
    assert not any(frontend.kind is FrontendKind.NODE_PORT for frontend in given.expected.behaviours)
    assert served(read(ruleset(), given=given), given) == set()
    for unknown in (
        order(config=elsewhere),
        order(config=elsewhere, node_ports=frozenset({(Family.IPV6, Protocol.TCP, 30080)})),
    ):
        assert served(read(ruleset(), given=unknown), unknown) == {("10.244.1.1:30080/TCP", "NODE_PORT", "default/web")}


def test_refusals_left_over_in_filter_are_seen() -> None:
    rules = FILTER.replace(
        "-A KUBE-SERVICES -d 10.96.0.60/32",
        "-A KUBE-EXTERNAL-SERVICES -d 203.0.113.9/32 -p tcp -m tcp --dport 80 -j REJECT\n-A KUBE-SERVICES -d 10.96.0.60/32",
    )
    given = order()
    assert served(read(ruleset(rules + NAT), given=given), given) == {("203.0.113.9:80/TCP", "CLUSTER_IP", "None")}


def test_without_an_address_of_its_own_a_node_has_no_node_port() -> None:
    nowhere = {family: structs.replace(item, own=type(item.own)(family, ())) for family, item in networks().items()}
    given = structs.replace(order(), networks=nowhere)
    rule = "-A KUBE-NODEPORTS " + TO_WEB.format("default/gone", 31111)
    assert served(read(ruleset(with_nat(rule)), given=given), given) == set()


# -- recognising and following -----------------------------------------------------------------------------------------


def test_signs() -> None:
    assert PLANE.mode is ProxyMode.IPTABLES
    assert PLANE.signs(evidence(ruleset())) == ("1 KUBE-SVC chains in nodes/node01/iptables-save.txt",)
    assert PLANE.signs(evidence(ruleset(FILTER), ruleset("*nat\nCOMMIT\n"))) == ()
    assert PLANE.signs(evidence()) == ()


def test_following_one_frontend_gives_every_end() -> None:
    assert PLANE.follow is not None
    given = order()
    network = networks()[Family.IPV4]
    frontend = next(
        item
        for item in given.expected.behaviours
        if item.kind is FrontendKind.CLUSTER_IP and item.position is Position.POD and str(item.address) == "10.96.0.50"
    )
    clients = network.clients(frontend.position, frontend.address)
    leaves = PLANE.follow(evidence(ruleset()), network, frontend, clients)
    assert {(str(leaf.fate.backend), leaf.fate.disposition) for leaf in leaves} == {
        ("10.244.1.5:8080", Disposition.BACKEND)
    }
    assert PLANE.follow(evidence(), network, frontend, clients) == []


def test_rules_of_the_other_family_are_not_looked_at() -> None:
    six = structs.replace(ruleset(), family=Family.IPV6)
    assert [gap.subject for gap in read(six).gaps] == ["IPv4 rules"]
