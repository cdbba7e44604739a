"""Which addresses and ports the rules and the network of a node tell apart."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kdiag.model.addresses import Family
from kdiag.model.rules import IpSet
from kdiag.walk.distinctions import Distinctions
from kdiag.walk.network import node_network
from tests.walk.setting import HOST, NODE, address, addresses


def told(*texts: str, ipsets: Iterable[IpSet] = (), apart: bool = False, family: Family = Family.IPV4) -> Distinctions:
    network = node_network(family, HOST, NODE, ())
    return Distinctions(network, [text.encode() for text in texts], [], ipsets, apart=apart)


def same(found: Distinctions, one: str, other: str) -> bool:
    return found.of_address(int(address(one))) == found.of_address(int(address(other)))


def test_what_nothing_names_is_one_class() -> None:
    found = told("-A INPUT -j ACCEPT")
    assert same(found, "172.16.1.1", "172.31.200.7")
    assert found.of_port(80) == found.of_port(8080) == found.of_port(0)


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -s 172.16.1.0/24 -j DROP",
        "-A INPUT -d 172.16.1.1/32 -j DROP",
        "-A INPUT -m iprange --src-range 172.16.1.1-172.16.1.9 -j DROP",
        "-A INPUT -m iprange --dst-range 172.16.0.9-172.16.1.4 -j DROP",
        "-A X -j DNAT --to-destination 172.16.1.1:80",
        "-A INPUT -d 172.16.1.0/255.255.255.0 -j DROP",
    ],
)
def test_an_address_that_a_rule_names_is_apart(rule: str) -> None:
    found = told(rule)
    assert not same(found, "172.16.1.1", "172.31.200.7")
    assert same(found, "172.30.0.1", "172.31.200.7")


def test_two_addresses_that_are_always_named_together_are_one_class() -> None:
    found = told("-A INPUT -s 172.16.0.0/16 -j DROP", "-A INPUT -s 172.20.0.0/16 -j DROP")
    assert same(found, "172.16.0.1", "172.16.200.1")
    assert not same(found, "172.16.0.1", "172.20.0.1")


def test_members_of_one_set_are_one_class() -> None:
    members = IpSet(name="x", type="hash:ip", members=frozenset(("172.16.1.1", "172.31.1.1")))
    found = told(ipsets=[members])
    assert same(found, "172.16.1.1", "172.31.1.1")
    assert not same(found, "172.16.1.1", "172.16.1.2")
    assert same(found, "172.16.1.2", "172.31.1.2")


def test_members_with_a_port_are_apart() -> None:
    members = IpSet(name="x", type="hash:ip,port", members=frozenset(("172.16.1.1,tcp:80", "172.31.1.1,tcp:81")))
    found = told(ipsets=[members])
    assert not same(found, "172.16.1.1", "172.31.1.1")
    assert not same(found, "172.16.1.1", "172.16.1.2")
    assert len({found.of_port(port) for port in (80, 81, 82)}) == 3


def test_the_node_its_pods_and_its_interfaces_are_apart() -> None:
    found = told()
    texts = ["192.168.56.11", "127.0.0.1", "10.244.1.7", "10.244.2.7", "8.8.8.8", "192.168.56.12"]
    assert len({found.of_address(int(address(text))) for text in texts}) >= 5


def test_where_rules_may_compare_every_named_address_parts_those_on_either_side() -> None:
    rule = "ip daddr > 172.16.1.1 drop"
    assert same(told(rule), "172.16.1.0", "172.16.1.2")
    assert not same(told(rule, apart=True), "172.16.1.0", "172.16.1.2")


@pytest.mark.parametrize(
    ("rule", "apart"),
    [
        ("-p tcp -m tcp --dport 80 -j DROP", True),
        ("-p tcp -m tcp --dport 70:90 -j DROP", True),
        ("-p tcp -m tcp --dport :90 -j DROP", True),
        ("-p tcp -m tcp --dport 81: -j DROP", True),
        ("-p tcp -m multiport --dports 22,80,443 -j DROP", True),
        ("-p tcp -m multiport --dports 22,70:85 -j DROP", True),
        ('-m comment --comment "port 80" -j DROP', False),
        ("-m mark --mark 0x80/0x80 -j DROP", False),
        ("-s 10.80.0.0/16 -j DROP", False),
        ("-p tcp -m tcp --dport 8080 -j DROP", False),
    ],
)
def test_ports(rule: str, apart: bool) -> None:
    found = told(f"-A INPUT {rule}")
    assert (found.of_port(80) != found.of_port(50000)) is apart


def test_ipv6() -> None:
    found = told(
        "-A INPUT -s fd00:99::/64 -j DROP", "-A X -j DNAT --to-destination [fd00:98::5]:80", family=Family.IPV6
    )
    assert not same(found, "fd00:99::1", "fd00:97::1")
    assert same(found, "fd00:99::1", "fd00:99::2")
    assert not same(found, "fd00:98::5", "fd00:98::6")
    assert same(found, "fd00:98::6", "fd00:97::1")


def test_all_of_some() -> None:
    found = told("-A INPUT -s 172.16.1.0/24 -j DROP")
    numbers = [int(address(text)) for text in ("172.16.0.1", "172.16.1.1", "172.16.2.1")]
    assert found.of_all(numbers) == {found.of_address(number) for number in numbers}
    assert len(found.of_all(numbers)) == 2
    assert len(found.of_all(numbers[:1])) == 1


def test_sets_that_matter_besides() -> None:
    network = node_network(Family.IPV4, HOST, NODE, ())
    found = Distinctions(network, [], [addresses("172.16.0.0/16")], (), apart=False)
    assert not same(found, "172.16.0.1", "172.17.0.1")


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -j ACCEPT",
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
        "-A INPUT -p udp -m multiport --dports 53,5353 -j ACCEPT",
        "-A INPUT -p icmp -j ACCEPT",
        "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT",
        '-A INPUT -m comment --comment "all but -p tcp go on" -j ACCEPT',
    ],
)
def test_rules_that_ask_for_no_protocol_at_ports_that_they_do_not_name(rule: str) -> None:
    found = told(rule)
    assert found.unasked == found.of_port(8080)
    assert found.unasked != found.of_port(22) or "22" not in rule


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -p tcp -j ACCEPT",
        "-A INPUT ! -p tcp -j ACCEPT",
        "-A INPUT -p tcp -m tcp ! --dport 22 -j ACCEPT",
        "-A INPUT -p tcp -m tcp --sport 22 -j ACCEPT",
        "-A INPUT -p tcp -m multiport --ports 22 -j ACCEPT",
        "-A INPUT -p tcp -m multiport ! --dports 22 -j ACCEPT",
        '-A INPUT -p tcp -m comment --comment "but --dport 22" -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu',
        "-A INPUT -m conntrack --ctproto 6 -j ACCEPT",
        "-A INPUT -p tcp -j ACCEPT\n-A INPUT -j DROP -m tcp --dport 22",
    ],
)
def test_rules_that_ask_for_a_protocol_at_any_port(rule: str) -> None:
    assert told(rule).unasked is None


def test_where_rules_compare_in_other_ways_nothing_is_said_of_protocols() -> None:
    assert told("ip daddr 10.0.0.1 drop", apart=True).unasked is None
