"""What nftables rules ask: every expression, yes, no and cannot be told."""

from __future__ import annotations

import pytest

from kdiag.model.dataplane import Position
from tests.walk.nft_setting import base, matched, told
from tests.walk.setting import NODE_IP, OUTSIDE, POD, VIP, VIP6

EXTERNAL, NODE = Position.EXTERNAL, Position.NODE


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("", "yes"),
        (f"ip daddr {VIP}", "yes"),
        (f"ip daddr != {VIP}", "no"),
        ("ip daddr 10.96.0.0/12", "yes"),
        ("ip daddr != 10.96.0.0/12", "no"),
        ("ip daddr 10.96.0.0-10.96.0.9", "no"),
        ("ip daddr 10.96.0.0-10.96.0.10", "yes"),
        (f"ip daddr {{ 10.0.0.1, {VIP} }}", "yes"),
        ("ip daddr { 10.0.0.1, 10.0.0.2 }", "no"),
        (f"ip daddr != {{ 10.0.0.1, {VIP} }}", "no"),
        (f"ip daddr 10.0.0.1 ip daddr {VIP}", "no"),
        ("ip6 daddr fd00::1", "no"),
        # The packet has no such field: it is not asked for its opposite either.
        ("ip6 daddr != fd00::1", "no"),
        ("tcp dport 80", "yes"),
        ("tcp dport http", "yes"),
        ("tcp dport != 80", "no"),
        ("tcp dport 1-80", "yes"),
        ("tcp dport { 443, 8000-9000 }", "no"),
        ("tcp dport < 81", "yes"),
        ("tcp dport <= 79", "no"),
        ("tcp dport > 79", "yes"),
        ("tcp dport >= 81", "no"),
        ("udp dport 80", "no"),
        ("udp dport != 81", "no"),
        ("udp dport < 81", "no"),
        ("th dport 80", "yes"),
        ("tcp sport 1000", "?"),
        ("tcp sport > 1000", "?"),
        ("icmp type echo-request", "no"),
        ("tcp flags syn / fin,syn,rst,ack", "yes"),
        ("tcp flags & (fin | syn) == fin | syn", "no"),
        ("tcp flags & (fin | syn | rst | ack) != syn", "no"),
        ("tcp flags ack", "no"),
        ("ip protocol tcp", "yes"),
        ("ip protocol != tcp", "no"),
        ("ip protocol 6", "yes"),
        ("ip version 4", "yes"),
        ("ip ttl 1", "?"),
        ("meta l4proto tcp", "yes"),
        ("meta l4proto { tcp, udp }", "yes"),
        ("meta l4proto 17", "no"),
        ("meta nfproto ipv4", "yes"),
        ("meta nfproto ipv6", "no"),
        ("meta protocol ip", "yes"),
        ("meta length > 100", "?"),
        ("meta mark 0", "yes"),
        ("meta mark != 0", "no"),
        ("meta mark & 0x4000 == 0x4000", "no"),
        ("meta mark & 0x4000 == 0", "yes"),
        ("meta pkttype host", "yes"),
        ("meta pkttype broadcast", "no"),
        # A packet from the wire has no process.
        ("meta skuid 0", "no"),
        ("ct state new", "yes"),
        ("ct state established,related", "no"),
        ("ct state { new, established }", "yes"),
        ("ct state != new", "no"),
        ("ct state invalid", "no"),
        ("ct status dnat", "no"),
        ("ct status != dnat", "yes"),
        ("ct mark 0", "yes"),
        ("ct direction original", "yes"),
        (f"ct original ip daddr {VIP}", "yes"),
        ("ct original proto-dst 80", "yes"),
        ("ct reply ip saddr 10.0.0.1", "?"),
        ('ct helper "ftp"', "?"),
        ("fib daddr type local", "no"),
        ("fib daddr type unicast", "yes"),
        ("fib daddr type { local, unicast }", "yes"),
        ("fib saddr type local", "no"),
        ("fib saddr type unicast", "yes"),
        ("fib saddr type multicast", "no"),
        ("fib saddr . iif oif missing", "no"),
        ("fib saddr . iif oif exists", "yes"),
        ("fib saddr . iif oif eth0", "?"),
        ("limit rate 5/second", "?"),
        ("iifname cni0", "yes"),
        ("iifname != cni0", "no"),
        ('iifname "cni*"', "yes"),
        ('iifname { "eth0", "cni*" }', "yes"),
        ("iif eth0", "no"),
        ("oifname eth0", "no"),
        (f"ip saddr {POD}", "yes"),
        (f"ip saddr != {POD}", "no"),
        ("ip saddr 10.244.0.0/16", "yes"),
        (f"ip saddr {{ {POD}, 10.9.9.9 }}", "yes"),
        (f"ip saddr . ip daddr {{ {POD} . {VIP} }}", "yes"),
        (f"ip saddr . ip daddr != {{ {POD} . {VIP} }}", "no"),
        (f"ip saddr . ip daddr {{ {POD} . 10.0.0.1 }}", "no"),
        (f"ip saddr . udp dport {{ {POD} . 80 }}", "no"),
        (f"ip saddr . udp dport != {{ {POD} . 80 }}", "no"),
        (f"ip daddr . meta l4proto . th dport {{ {VIP} . tcp . 80 }}", "yes"),
        (f"ip daddr . meta l4proto . th dport {{ {VIP} . udp . 80 }}", "no"),
        ("ip daddr . tcp dport { 10.96.0.0/12 . 70-90 }", "yes"),
        ("ip daddr . tcp dport { 10.96.0.0/12 . 81-90 }", "no"),
        ('iifname . ip saddr { "cni0" . 10.244.1.77 }', "yes"),
        ("ip saddr @here", "yes"),
        ("ip saddr != @here", "no"),
        ("ip daddr @nowhere", "?"),
        ("iifname @links", "yes"),
        ("iifname @nowhere", "?"),
        ("ip saddr @asked", "no"),
    ],
)
def test_a_pod(match: str, expected: str) -> None:
    more = f"""\tset here {{
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = {{ 10.244.1.0/24 }}
\t}}
\tset links {{
\t\ttype ifname
\t\telements = {{ "cni0" }}
\t}}
\tset asked {{
\t\ttype ipv4_addr
\t\ttimeout 1m
\t\telements = {{ {POD} }}
\t}}
\tchain remember {{
\t\tupdate @asked {{ ip saddr }}
\t}}"""
    assert matched(match, more=more) == expected


@pytest.mark.parametrize(
    ("match", "hook", "position", "expected"),
    [
        ("iifname eth0", "prerouting", EXTERNAL, "yes"),
        ("iifname lo", "prerouting", EXTERNAL, "no"),
        ("iifname != lo", "prerouting", EXTERNAL, "yes"),
        ("oifname eth0", "output", NODE, "yes"),
        ("oifname != eth0", "output", NODE, "no"),
        ('oifname "eth*" oifname != "eth1"', "output", NODE, "yes"),
        ('iifname "cni*" iifname != "cni0"', "forward", Position.POD, "no"),
        ('oifname . tcp dport { "eth0" . 80 }', "forward", Position.POD, "yes"),
        ("meta skuid 0", "output", NODE, "?"),
        ("fib saddr type local", "output", NODE, "yes"),
        (f"ip saddr {NODE_IP}", "output", NODE, "yes"),
        (f"ip saddr {OUTSIDE} tcp dport 80", "prerouting", EXTERNAL, "yes"),
    ],
)
def test_other_places(match: str, hook: str, position: Position, expected: str) -> None:
    assert matched(match, hook=hook, position=position) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (f"ip6 daddr {VIP6}", "yes"),
        ("ip6 nexthdr tcp", "yes"),
        ("ip daddr 10.0.0.1", "no"),
        ("ip daddr != 10.0.0.1", "no"),
        ("meta nfproto ipv6", "yes"),
        ("meta protocol ip6", "yes"),
        ("fib daddr type unicast", "yes"),
    ],
)
def test_ipv6_in_a_table_of_both_families(match: str, expected: str) -> None:
    text = base(f"{match} drop").replace("table ip t", "table inet t")
    found = told(text, destination=VIP6, only="fd00:244:1::77")
    assert [outcomes == ["dropped"] for outcomes in found.values()] == [expected == "yes"]


def test_a_match_splits_the_clients() -> None:
    assert told(base(f"ip saddr {POD} drop"), only="10.244.1.76/31") == {
        "10.244.1.76": ["untranslated"],
        "10.244.1.77": ["dropped"],
    }
    # Two conditions on the source hold together.
    both = base(f"ip saddr . tcp dport {{ {POD} . 80, 10.244.1.76 . 80 }} ip saddr . ip daddr {{ {POD} . {VIP} }} drop")
    assert told(both, only="10.244.1.76/31") == {"10.244.1.76": ["untranslated"], "10.244.1.77": ["dropped"]}


def test_a_set_with_an_element_that_is_not_understood() -> None:
    """It may hold anything: what it surely holds is held, the rest cannot be told."""
    more = f"\tset odd {{\n\t\ttype ipv4_addr . inet_service\n\t\telements = {{ {VIP} . 80, {VIP} }}\n\t}}"
    assert matched("ip daddr . tcp dport @odd", more=more) == "yes"
    assert matched("ip daddr . tcp dport @odd", more=more, number=81) == "?"
    assert matched(f"ip saddr . tcp dport {{ {POD} . 80, {POD} }}") == "?"


def test_what_is_marked_untracked() -> None:
    raw = "\tchain r {\n\t\ttype filter hook prerouting priority raw; policy accept;\n\t\tnotrack\n\t}"
    assert matched("ct state untracked", more=raw) == "yes"
    assert matched("ct state new", more=raw) == "no"
    assert matched("ct mark 0", more=raw) == "no"
    assert matched("ct mark != 1", more=raw) == "no"
    assert matched("ct direction original", more=raw) == "no"
