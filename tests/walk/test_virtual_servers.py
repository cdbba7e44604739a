"""Virtual servers as packets meet them: where they are asked, what they send where, and what they refuse."""

from __future__ import annotations

import pytest

from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Position
from kdiag.model.host import HostFacts
from kdiag.parse.ipvsadm import parse_ipvsadm_save
from kdiag.walk.cases import cases_of
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import node_network
from kdiag.walk.program import Program
from kdiag.walk.virtual_servers import IpvsSpace
from kdiag.walk.walker import Leaf, Walker
from tests.walk.setting import (
    HOST,
    NODE,
    NODE_IP,
    OUTSIDE,
    POD,
    VIP,
    VIP6,
    clients_at,
    describe,
    frontend,
    interface_address,
    ruleset,
)

A, B, FAR = "10.244.1.5", "10.244.1.6", "10.244.2.5"
EXTERNAL, HERE = Position.EXTERNAL, Position.NODE
WITH_ADDRESS = HostFacts(
    addresses=(*(HOST.addresses or ()), interface_address("kube-ipvs0", VIP), interface_address("kube-ipvs0", VIP6)),
    interfaces=HOST.interfaces,
    routes=HOST.routes,
)


def server(*real: str, address: str = f"{VIP}:80", scheduler: str = "rr", kind: str = "-t", more: str = "") -> str:
    lines = [f"-A {kind} {address} -s {scheduler}{more}"]
    lines += [f"-a {kind} {address} -r {item}" for item in real]
    return "".join(f"{line}\n" for line in lines)


def leaves(
    servers: str,
    *,
    host: HostFacts = WITH_ADDRESS,
    destination: str = VIP,
    number: int = 80,
    position: Position = Position.POD,
    protocol: Protocol = Protocol.TCP,
    iptables: str = "filter :FORWARD ACCEPT",
    tracked: bool = True,
) -> list[Leaf]:
    family = Family.IPV6 if ":" in destination else Family.IPV4
    network = node_network(family, host, NODE, ())
    only = None if family is Family.IPV6 else {Position.POD: POD, HERE: NODE_IP}.get(position, OUTSIDE)
    spaces = (
        IptablesSpace(ruleset(iptables, family=family)),
        IpvsSpace(parse_ipvsadm_save(servers, "ipvsadm.txt"), tracked=tracked),
    )
    walker = Walker(Program(spaces, Surroundings(network=network)))
    clients = clients_at(network, position, destination, only)
    assert clients
    return walker.walk(frontend(destination, number, position, protocol), clients)


def one(servers: str, **where: object) -> list[str]:
    (case,) = cases_of(leaves(servers, **where))  # type: ignore[arg-type]
    return describe(case)[1]


@pytest.mark.parametrize(
    ("real", "scheduler", "expected"),
    [
        ((f"{A}:8080 -m -w 1",), "rr", f"{A}:8080"),
        ((f"{A}:8080 -m -w 1", f"{FAR}:8080 -m -w 1"), "rr", f"{A}:8080 0.5, {FAR}:8080 0.5"),
        # Weight 0 gets no new connections; other weights count for schedulers that mind them.
        ((f"{A}:8080 -m -w 1", f"{FAR}:8080 -m -w 0"), "rr", f"{A}:8080"),
        ((f"{A}:8080 -m -w 1", f"{FAR}:8080 -m -w 3"), "rr", f"{A}:8080 0.5, {FAR}:8080 0.5"),
        ((f"{A}:8080 -m -w 1", f"{FAR}:8080 -m -w 3"), "lc", f"{A}:8080 0.5, {FAR}:8080 0.5"),
        ((f"{A}:8080 -m -w 1", f"{FAR}:8080 -m -w 3"), "wrr", f"{A}:8080 0.25, {FAR}:8080 0.75"),
        ((f"{A}:8080 -m -w 0",), "rr", "rejected"),
        ((), "rr", "rejected"),
        # Sent on as it is, to a host that has the address too: what becomes of it is not known.
        ((f"{A}:80 -g -w 1",), "rr", "unknown"),
        ((f"{A}:80 -i -w 1",), "rr", "unknown"),
    ],
)
def test_real_servers(real: tuple[str, ...], scheduler: str, expected: str) -> None:
    assert expected in one(server(*real, scheduler=scheduler))


def test_persistence_is_affinity() -> None:
    assert one(server(f"{A}:80 -m -w 1", more=" -p 7200")) == [f"{A}:80 affinity-7200"]


def test_a_virtual_server_of_another_address_port_or_protocol_is_not_met() -> None:
    real = f"{A}:8080 -m -w 1"
    assert one(server(real), number=81) == ["untranslated"]
    assert one(server(real), protocol=Protocol.UDP) == ["untranslated"]
    assert one(server(real, kind="-u"), protocol=Protocol.UDP) == [f"{A}:8080"]
    assert one(server(real, address="10.96.0.11:80")) == ["untranslated"]
    # One for port 0 takes every port, and keeps it where the real server names none.
    assert one(server(f"{A}:0 -m -w 1", address=f"{VIP}:0", more=" -p 300"), number=81) == [f"{A}:81 affinity-300"]
    assert one("-A -f 5 -s rr\n") == ["untranslated"]


def test_where_virtual_servers_are_asked() -> None:
    """From the wire only for addresses of the node (INPUT); for the node's own packets always (OUTPUT)."""
    real = server(f"{A}:8080 -m -w 1")
    assert [one(real, position=position) for position in Position] == [[f"{A}:8080"]] * 3
    away = [one(real, position=position, host=HOST) for position in (Position.POD, EXTERNAL, HERE)]
    assert away == [["untranslated"], ["untranslated"], [f"{A}:8080"]]


def test_ipv6() -> None:
    real = server("[fd00:244:1::5]:80 -m -w 1", address=f"[{VIP6}]:80")
    (case,) = cases_of(leaves(real, destination=VIP6))
    assert describe(case)[1] == ["[fd00:244:1::5]:80"]


NAT = "nat -A POSTROUTING -j MASQUERADE"


def test_what_is_sent_on_leaves_through_output_and_postrouting() -> None:
    real = server(f"{A}:8080 -m -w 1")
    assert one(real, iptables=NAT) == [f"{A}:8080 masquerade-other"]
    assert one(real, iptables=NAT, position=HERE) == [f"{A}:8080 masquerade-other"]
    assert one(real, iptables=f"filter -A OUTPUT -d {A} -j DROP") == [f"dropped after {A}:8080"]
    assert one(real, iptables=f"filter -A INPUT -d {VIP} -j DROP") == ["dropped"]
    # It is never forwarded.
    assert one(real, iptables="filter :FORWARD DROP") == [f"{A}:8080"]


def test_without_connection_tracking_nothing_is_masqueraded() -> None:
    assert one(server(f"{A}:8080 -m -w 1"), iptables=NAT, tracked=False) == [f"{A}:8080"]


def test_a_real_server_on_the_node_itself() -> None:
    real = server(f"{NODE_IP}:6443 -m -w 1")
    assert one(real) == [f"{NODE_IP}:6443"]
    assert one(real, position=HERE) == [f"{NODE_IP}:6443"]


def test_nat_rules_come_first() -> None:
    first = f"nat -A PREROUTING -d {VIP} -p tcp -j DNAT --to-destination {B}:1"
    assert one(server(f"{A}:8080 -m -w 1"), iptables=first) == [f"{B}:1"]


def test_the_words_of_the_walk() -> None:
    (leaf,) = leaves(server(f"{A}:8080 -m -w 1"))
    assert leaf.passed is not None
    met = leaf.passed.steps()[-1].met
    assert (met.table, met.chain, met.line) == ("ipvs", "virtual servers", 2)
    assert met.action == f"virtual server {VIP}:80 (rr): real server {A}:8080"
    (refused,) = leaves(server())
    assert refused.passed is not None
    assert refused.passed.met.action == f"virtual server {VIP}:80: no real server, refused"
    space = IpvsSpace(parse_ipvsadm_save(server(), "x"))
    assert space.rule_count == 1
    around = Surroundings(network=node_network(Family.IPV4, HOST, NODE, ()))
    assert space.compile("ipvs", "other", around, lambda: 0) is None
