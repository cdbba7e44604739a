"""`nft list ruleset`."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.nft import (
    Aside,
    Assign,
    Binary,
    Concat,
    Ct,
    Expression,
    Fib,
    Hook,
    Limit,
    MapLiteral,
    MapLookup,
    Match,
    Meta,
    NftSet,
    Numgen,
    Payload,
    Prefix,
    Reject,
    SetChange,
    SetLiteral,
    SetReference,
    Span,
    Statement,
    Translate,
    UnknownExpression,
    UnknownStatement,
    Untrack,
    Value,
    Verdict,
    VerdictMap,
    Wildcard,
)
from kdiag.parse.nft_text import parse_nft_text
from kdiag.parse.nft_words import priority_number, seconds, time_text
from tests.parse.nft_samples import only_rule, text_of_one

SADDR, DADDR = Payload("ip", "saddr"), Payload("ip", "daddr")
DPORT = Payload("tcp", "dport")


def read(rule: str, family: str = "ip") -> tuple[Statement, ...]:
    return only_rule(parse_nft_text(text_of_one(family, rule), "test")).statements


STATEMENTS: list[tuple[str, Statement]] = [
    ("accept", Verdict("accept")),
    ("goto service-X-ns/name/tcp/p", Verdict("goto", "service-X-ns/name/tcp/p")),
    ('jump "quoted"', Verdict("jump", "quoted")),
    ("queue flags bypass to 1-3", Verdict("queue")),
    ("tcp dport 80", Match(DPORT, "==", Value(80))),
    ('tcp dport "http"', Match(DPORT, "==", Value(80))),
    ("tcp dport http", Match(DPORT, "==", Value(80))),
    ("tcp dport >= 1024", Match(DPORT, ">=", Value(1024))),
    ("tcp dport { 22, 80-88 }", Match(DPORT, "==", SetLiteral((Value(22), Span(Value(80), Value(88)))))),
    ("tcp dport != @ports", Match(DPORT, "!=", SetReference("ports"))),
    ("ip daddr 10.0.0.0/8", Match(DADDR, "==", Prefix("10.0.0.0", 8))),
    ("ip daddr 10.0.0.1-10.0.0.9", Match(DADDR, "==", Span(Value("10.0.0.1"), Value("10.0.0.9")))),
    ("ip6 daddr fd00::/64", Match(Payload("ip6", "daddr"), "==", Prefix("fd00::", 64))),
    ("ip6 daddr != ::1", Match(Payload("ip6", "daddr"), "!=", Value("::1"))),
    ("meta mark 0x1-0x5", Match(Meta("mark"), "==", Span(Value(1), Value(5)))),
    ("meta mark 0xfffffffffffffffffffffffffffffffff", Match(Meta("mark"), "==", Value("0xfffffffffffffffffffffffffffffffff"))),
    ("meta l4proto 6", Match(Meta("l4proto"), "==", Value("tcp"))),
    ("meta l4proto { 6, 17 }", Match(Meta("l4proto"), "==", SetLiteral((Value("tcp"), Value("udp"))))),
    ("ip protocol tcp", Match(Payload("ip", "protocol"), "==", Value("tcp"))),
    ("mark 0x10", Match(Meta("mark"), "==", Value(16))),
    ('iifname "cni*"', Match(Meta("iifname"), "==", Value("cni*"))),
    ('iifname { "eth0", "a, b" }', Match(Meta("iifname"), "==", SetLiteral((Value("eth0"), Value("a, b"))))),
    ('iifname "*"', Match(Meta("iifname"), "==", Wildcard())),
    ("icmp type echo-request", Match(Payload("icmp", "type"), "==", Value("echo-request"))),
    ("ct state new", Match(Ct("state"), "in", Value("new"))),
    ("ct state 0x2,0x4", Match(Ct("state"), "in", SetLiteral((Value("established"), Value("related"))))),
    ("ct state established|related", Match(Ct("state"), "in", SetLiteral((Value("established"), Value("related"))))),
    ("ct state != new", Match(Ct("state"), "!=", Value("new"))),
    ("ct state { new }", Match(Ct("state"), "==", SetLiteral((Value("new"),)))),
    ("ct state @states", Match(Ct("state"), "==", SetReference("states"))),
    ("ct original ip daddr 10.0.0.1", Match(Ct("ip daddr", "original"), "==", Value("10.0.0.1"))),
    ("ct reply proto-src 0x50", Match(Ct("proto-src", "reply"), "==", Value(80))),
    ("ct expiration 1m30s", Match(Ct("expiration"), "==", Value(90))),
    ('ct helper "ftp"', Match(Ct("helper"), "==", Value("ftp"))),
    ("meta mark ct mark", Match(Meta("mark"), "==", Ct("mark"))),
    ("tcp flags syn / syn,ack", Match(Binary("&", Payload("tcp", "flags"), SetLiteral((Value("syn"), Value("ack")))), "==", Value("syn"))),
    ("tcp flags != syn / syn,ack", Match(Binary("&", Payload("tcp", "flags"), SetLiteral((Value("syn"), Value("ack")))), "!=", Value("syn"))),
    ("tcp flags & (fin | syn | ack) == syn", Match(Binary("&", Payload("tcp", "flags"), SetLiteral((Value("fin"), Value("syn"), Value("ack")))), "==", Value("syn"))),
    ("tcp flags & (fin|syn) == syn", Match(Binary("&", Payload("tcp", "flags"), SetLiteral((Value("fin"), Value("syn")))), "==", Value("syn"))),
    ("tcp flags ! syn", Match(Binary("&", Payload("tcp", "flags"), Value("syn")), "==", Value(0))),
    ("meta mark and 0x4000 == 0x4000", Match(Binary("&", Meta("mark"), Value(0x4000)), "==", Value(0x4000))),
    ("fib daddr . mark . iif type local", Match(Fib("type", ("daddr", "mark", "iif")), "==", Value("local"))),
    ("fib saddr oif 0", Match(Fib("oif", ("saddr",)), "==", Value("missing"))),
    ("numgen inc mod 10 offset 2 < 5", Match(Numgen("inc", 10, 2), "<", Value(5))),
    ("@th,16,16 53", Match(UnknownExpression("@th,16,16"), "==", Value(53))),
    ("jhash ip saddr . tcp sport mod 2 seed 0xbeef 1", Match(UnknownExpression("jhash ip saddr . tcp sport mod 2 seed 0xbeef"), "==", Value(1))),
    ("symhash mod 2 1", Match(UnknownExpression("symhash mod 2"), "==", Value(1))),
    ("rt ip nexthop 10.0.0.1", Match(UnknownExpression("rt ip nexthop"), "==", Value("10.0.0.1"))),
    ("socket cgroupv2 level 1 \"x\"", Match(UnknownExpression("socket cgroupv2 level 1"), "==", Value("x"))),
    ("ipsec in spnum 1 ip saddr 10.0.0.1", Match(UnknownExpression("ipsec in spnum 1 ip saddr"), "==", Value("10.0.0.1"))),
    ("ipsec out reqid 5", Match(UnknownExpression("ipsec out reqid"), "==", Value(5))),
    ('osf ttl skip name "Linux"', Match(UnknownExpression("osf ttl skip name"), "==", Value("Linux"))),
    ("exthdr hbh exists", Match(UnknownExpression("exthdr hbh"), "==", Value("exists"))),
    ("frag id 5", Match(UnknownExpression("frag id"), "==", Value(5))),
    ("vxlan ip saddr 10.0.0.1", Match(UnknownExpression("vxlan ip saddr"), "==", Value("10.0.0.1"))),
    ("tcp option sack-perm exists", Match(UnknownExpression("tcp option sack-perm"), "==", Value("exists"))),
    ('meta hour "08:00"-"17:00"', Match(Meta("hour"), "==", Span(Value("08:00"), Value("17:00")))),
    ("ip saddr . tcp dport { 1.1.1.1 . 80 }", Match(Concat((SADDR, DPORT)), "==", SetLiteral((Concat((Value("1.1.1.1"), Value(80))),)))),
    ("meta mark set mark or 0x4000", Assign(Meta("mark"), Binary("|", Meta("mark"), Value(0x4000)))),
    ("meta mark set ip saddr map @marks", Assign(Meta("mark"), MapLookup(SADDR, SetReference("marks")))),
    ("meta mark set ct mark & 0xff | 0x1", Assign(Meta("mark"), Binary("|", Binary("&", Ct("mark"), Value(0xFF)), Value(1)))),
    ("ct mark set (meta mark ^ 0x1) & 0x3", Assign(Ct("mark"), Binary("&", Binary("^", Meta("mark"), Value(1)), Value(3)))),
    ("ip dscp set cs2", Assign(Payload("ip", "dscp"), Value("cs2"))),
    ("tcp option maxseg size set rt mtu", Assign(UnknownExpression("tcp option maxseg size"), UnknownExpression("rt mtu"))),
    ("ip daddr . meta l4proto . th dport vmap @service-ips", VerdictMap(Concat((DADDR, Meta("l4proto"), Payload("th", "dport"))), SetReference("service-ips"))),
    ("numgen random mod 2 vmap { 0 : goto a, 1 : drop, * : accept }", VerdictMap(Numgen("random", 2), MapLiteral(((Value(0), Verdict("goto", "a")), (Value(1), Verdict("drop")), (Wildcard(), Verdict("accept")))))),
    ("dnat to 10.0.0.2:8080", Translate("dnat", Value("10.0.0.2"), Value(8080))),
    ('dnat to 10.0.0.2:"http-alt"', Translate("dnat", Value("10.0.0.2"), Value(8080))),
    ("dnat to 10.0.0.2:80-90 random,persistent", Translate("dnat", Value("10.0.0.2"), Span(Value(80), Value(90)), ("random", "persistent"))),
    ("dnat to [fd00::2]:80", Translate("dnat", Value("fd00::2"), Value(80))),
    ("dnat to [fd00::2]-[fd00::9]:80", Translate("dnat", Span(Value("fd00::2"), Value("fd00::9")), Value(80))),
    ("dnat to [fd00::2]", Translate("dnat", Value("fd00::2"))),
    ("dnat ip6 to fd00::2", Translate("dnat", Value("fd00::2"), family="ip6")),
    ("dnat ip to numgen random mod 1 map { 0 : 10.0.0.1 . 80 }", Translate("dnat", MapLookup(Numgen("random", 1), MapLiteral(((Value(0), Concat((Value("10.0.0.1"), Value(80)))),))), family="ip")),
    ("dnat ip addr . port to ip saddr map { 1.1.1.1 : 10.0.0.1 . \"http\" }", Translate("dnat", MapLookup(SADDR, MapLiteral(((Value("1.1.1.1"), Concat((Value("10.0.0.1"), Value(80)))),))), family="ip")),
    ("dnat to ip saddr map @m:80", Translate("dnat", MapLookup(SADDR, SetReference("m")), Value(80))),
    ("dnat to ip saddr map @m persistent", Translate("dnat", MapLookup(SADDR, SetReference("m")), flags=("persistent",))),
    ("dnat to ip saddr map { 1.1.1.1 : 10.0.0.1 }:80 persistent", Translate("dnat", MapLookup(SADDR, MapLiteral(((Value("1.1.1.1"), Value("10.0.0.1")),))), Value(80), ("persistent",))),
    ("dnat to 10.0.0.53:udp dport map { 53 : 5353 }", Translate("dnat", Value("10.0.0.53"), MapLookup(Payload("udp", "dport"), MapLiteral(((Value(53), Value(5353)),))))),
    ("snat ip prefix to 10.0.0.0/8", Translate("snat", Prefix("10.0.0.0", 8), flags=("netmap",), family="ip")),
    ("masquerade", Translate("masquerade")),
    ("masquerade to :1024-65535 fully-random", Translate("masquerade", port=Span(Value(1024), Value(65535)), flags=("fully-random",))),
    ("redirect to :8080", Translate("redirect", port=Value(8080))),
    ("reject with icmp type host-unreachable", Reject("icmp", "host-unreachable")),
    ("reject with icmp 1", Reject("icmp", "host-unreachable")),
    ("reject with icmpv6 99", Reject("icmpv6", "99")),
    ("reject with tcp reset", Reject("tcp reset")),
    ("notrack", Untrack()),
    ("update @affinity-X-ns/n/tcp/__10.0.0.1/80 { ip saddr }", SetChange("update", "affinity-X-ns/n/tcp/__10.0.0.1/80", SADDR)),
    ('add @s { ip saddr timeout 3h expires 2h comment "x" counter packets 0 bytes 0 }', SetChange("add", "s", SADDR, timeout_s=10800)),
    ("update @m { ip saddr : 0x5 }", SetChange("update", "m", SADDR, Value(5))),
    ("update @m { ip saddr : meta mark }", SetChange("update", "m", SADDR, Meta("mark"))),
    ("add @s { ip saddr limit rate 10/second burst 5 packets }", Limit("add @s { ip saddr limit rate 10/second burst 5 packets }")),
    ("limit rate over 10/minute burst 20 packets", Limit("limit rate over 10/minute burst 20 packets")),
    ("limit rate 10/second burst 5 packets", Limit("limit rate 10/second")),
    ("limit rate 1 mbytes/second burst 5 kbytes", Limit("limit rate 1 mbytes/second burst 5 kbytes")),
    ('limit name "slow"', Limit('limit name "slow"')),
    ("quota over 10 mbytes used 1 mbytes", Limit("quota over 10 mbytes")),
    ('quota name "much"', Limit('quota name "much"')),
    ("ct count over 10", Limit("ct count over 10")),
    ("meter m size 65535 { ip saddr limit rate 1/second }", Limit("meter m size 65535 { ip saddr limit rate 1/second }")),
    ("counter packets 1 bytes 2", Aside("counter packets 1 bytes 2")),
    ('counter name "hits"', Aside('counter name "hits"')),
    ('log prefix "bad {x}, # handle 5 " level warn group 5 snaplen 1 queue-threshold 2', Aside('log prefix "bad {x}, # handle 5 " level warn group 5 snaplen 1 queue-threshold 2')),
    ("log flags tcp sequence,options ip options skuid", Aside("log flags tcp sequence,options ip options skuid")),
    ('ct helper set "ftp"', Aside('ct helper set "ftp"')),
    ('dup to 10.0.0.1 device "lo"', Aside('dup to 10.0.0.1 device "lo"')),
    ("flow add @ft", Aside("flow add @ft")),
    ("last used never", Aside("last used never")),
    ("last", Aside("last")),
    ("reset tcp option sack-perm", Aside("reset tcp option sack-perm")),
    ('xt match "comment"', Aside('xt match "comment"')),
    ("xt match comment", Aside('xt match "comment"')),
    ('xt match "recent"', UnknownStatement('xt match "recent"')),
    ("xt target MASQUERADE", UnknownStatement('xt target "MASQUERADE"')),
    ("# xt_recent", UnknownStatement("# xt_recent")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "statement"), STATEMENTS, ids=[rule for rule, _ in STATEMENTS])
def test_statement(rule: str, statement: Statement) -> None:
    assert read(rule) == (statement,)


@pytest.mark.parametrize(("rule", "statement"), STATEMENTS, ids=[rule for rule, _ in STATEMENTS])
def test_a_statement_between_others(rule: str, statement: Statement) -> None:
    before, after = read("meta mark 0x7 "), (Verdict("drop"),)
    if statement != Verdict("queue"):
        assert read(f"meta mark 0x7 {rule} drop") == (*before, statement, *after)


UNKNOWN = [
    ('socket wildcard 0 foo "bar" counter packets 1 bytes 1 accept', 'foo "bar"', 3),
    ("tproxy to 127.0.0.1:15001 meta mark set 0x1 accept", "tproxy to 127.0.0.1:15001", 2),
    (f"numgen inc mod {'1' * 5000} 5 drop", f"numgen inc mod {'1' * 5000} 5", 1),
    ("ip colour red accept", "ip colour red", 1),
    ("hologram 5 ip saddr 1.1.1.1 drop", "hologram 5", 2),
    ("synproxy mss 1460 wscale 7 timestamp sack-perm", "synproxy mss 1460 wscale 7 timestamp sack-perm", 0),
    ("dnat to", "dnat to", 0),
    ("meta mark", "meta mark", 0),
    ("5 set 6", "5 set 6", 0),
    ("numgen random mod x vmap { 0 : accept }", "numgen random mod x vmap { 0 :", 2),
    ("ip saddr . meta l4proto set 5", "ip saddr .", 1),
    ('meta hour "8"x"9" accept', 'meta hour "8"x"9"', 1),
    ("tcp flags & (fin accept", "tcp flags & ( fin", 1),
    ("update @s { ip saddr drop }", "update @s {", 3),
    ("fib type local accept", "fib type local", 1),
    ("ct original ip 5 drop", "ct original ip 5", 1),
    ("ip daddr { 1.1.1.1 2.2.2.2 } drop", "ip daddr { 1.1.1.1 2.2.2.2 }", 1),
    ("numgen inc mod 1 vmap { 0 accept } drop", "numgen inc mod 1 vmap { 0", 3),
    ("meta l4proto . drop", "meta l4proto .", 1),
    ("ip daddr , drop", "ip daddr ,", 1),
    ("reject with love drop", "reject with love", 1),
]


@pytest.mark.parametrize(("rule", "unknown", "others"), UNKNOWN, ids=[rule[:60] for rule, _, _ in UNKNOWN])
def test_what_is_unknown_stays_in_its_rule(rule: str, unknown: str, others: int) -> None:
    statements = read(rule)
    assert next(each.text for each in statements if isinstance(each, UnknownStatement)) == unknown
    assert len(statements) >= others


def test_rule_of_iptables_nft() -> None:
    statements = read(
        'meta l4proto tcp ip daddr 10.96.0.1  tcp dport 443 xt match "recent" counter packets 0 bytes 0 jump K'
    )
    assert statements == (
        Match(Meta("l4proto"), "==", Value("tcp")),
        Match(DADDR, "==", Value("10.96.0.1")),
        Match(DPORT, "==", Value(443)),
        UnknownStatement('xt match "recent"'),
        Aside("counter packets 0 bytes 0"),
        Verdict("jump", "K"),
    )


@pytest.mark.parametrize(
    ("family", "expected"),
    [("ip", "icmp"), ("ip6", "icmpv6"), ("inet", "icmpx"), ("bridge", "icmpx"), ("netdev", "icmpx"), ("arp", None)],
)
def test_the_bare_reject_is_the_default_of_the_family(family: str, expected: str | None) -> None:
    assert read("reject", family) == (Reject(expected, "port-unreachable" if expected else None),)


LISTING = """\
# Warning: table ip nat is managed by iptables-nft, do not touch!
table ip kube-proxy { # handle 3
	comment "rules for kube-proxy"
	flags dormant

	counter hits {
		packets 1 bytes 2
	}

	ct helper ftp {
		type "ftp" protocol tcp
		l3proto ip
	}

	flowtable ft {
		hook ingress priority filter
		devices = { eth0, eth1 }
	}

	set cluster-ips { # handle 5
		type ipv4_addr
		size 65535
		gc-interval 10s
		auto-merge
		comment "Active {ClusterIPs}"
		elements = { 10.96.0.1, 10.96.0.10,
				10.96.100.1 }
	}

	set affinity {
		type ipv4_addr
		flags dynamic,timeout
		timeout 3h
		elements = { 10.1.1.1 timeout 1h expires 59m52s80ms,
				10.1.1.2 counter packets 0 bytes 0 expires 1s comment "x" }
	}

	map no-endpoint-services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.2 . 17 . "domain" comment "x/y" : drop,
				10.96.0.1 . tcp . 443 : goto reject-chain }
	}

	map of {
		typeof ip saddr . meta l4proto : verdict
		elements = { 1.1.1.1 . 6 : accept }
	}

	map to {
		typeof ip saddr : meta mark
		elements = { 1.1.1.1 : 0x00000010, broken, 2.2.2.2 : }
	}

	chain filter-input { # handle 7
		comment "a chain"
		type filter hook input priority dstnat - 10; policy drop;
		ct state new jump other comment "why # handle 4" # handle 12
		ip daddr {
			1.1.1.1,
			2.2.2.2 } accept
	}

	chain other {
	}
}
table ip6 kube-proxy {
}
"""


def _listing() -> dict[str, NftSet]:
    return dict(parse_nft_text(LISTING, "test").tables[0].sets)


def test_listing() -> None:
    ruleset = parse_nft_text(LISTING, "nft.txt")
    assert (ruleset.source, ruleset.complete, ruleset.unread, ruleset.version) == ("nft.txt", True, (), None)
    table, empty = ruleset.tables
    assert (table.family, table.name, table.flags, table.line) == ("ip", "kube-proxy", frozenset({"dormant"}), 2)
    assert (empty.family, empty.name, dict(empty.chains), dict(empty.sets)) == ("ip6", "kube-proxy", {}, {})
    assert list(table.chains) == ["filter-input", "other"]
    chain = table.chains["filter-input"]
    assert chain.hook == Hook(type="filter", hook="input", priority=-110)
    assert chain.policy == "drop"
    first, second = chain.rules
    assert (first.text, first.comment, first.handle) == ("ct state new jump other", "why # handle 4", 12)
    assert LISTING.split("\n")[first.line - 1].strip().startswith(first.text)
    assert second.text == "ip daddr { 1.1.1.1, 2.2.2.2 } accept"
    assert second.line == first.line + 1
    assert (table.chains["other"].hook, table.chains["other"].policy, table.chains["other"].rules) == (None, None, ())
    assert LISTING.split("\n")[table.chains["other"].line - 1] == "\tchain other {"


def test_sets() -> None:
    sets = _listing()
    assert sets["cluster-ips"].elements == tuple(
        (Value(each), None) for each in ("10.96.0.1", "10.96.0.10", "10.96.100.1")
    )
    assert sets["cluster-ips"].key_types == ("ipv4_addr",)
    affinity = sets["affinity"]
    assert affinity.elements == ((Value("10.1.1.1"), None), (Value("10.1.1.2"), None))
    assert (affinity.flags, affinity.timeout_s, affinity.value_type) == (frozenset({"dynamic", "timeout"}), 10800, None)
    assert affinity.comments == {Value("10.1.1.2"): "x"}


def test_maps() -> None:
    sets = _listing()
    made = sets["no-endpoint-services"]
    dns = Concat((Value("10.96.0.2"), Value("udp"), Value(53)))
    assert (made.key_types, made.value_type) == (("ipv4_addr", "inet_proto", "inet_service"), "verdict")
    assert made.elements == (
        (dns, Verdict("drop")),
        (Concat((Value("10.96.0.1"), Value("tcp"), Value(443))), Verdict("goto", "reject-chain")),
    )
    assert made.comments == {dns: "x/y"}
    assert sets["of"].key_types == ("ipv4_addr", "inet_proto")
    assert sets["of"].value_type == "verdict"
    assert sets["of"].elements == ((Concat((Value("1.1.1.1"), Value("tcp"))), Verdict("accept")),)


def test_elements_that_cannot_be_read_are_kept() -> None:
    made = _listing()["to"]
    pairs: list[tuple[Expression, Expression]] = [(Value("1.1.1.1"), Value(16))]
    pairs += [(UnknownExpression(text), UnknownExpression(text)) for text in ("broken", "2.2.2.2 :")]
    assert list(made.elements) == pairs
    assert made.value_type == "mark"


@pytest.mark.parametrize(
    ("declaration", "hook"),
    [
        ("type nat hook prerouting priority dstnat; policy accept;", Hook(type="nat", hook="prerouting", priority=-100)),
        ("type filter hook input priority 0;", Hook(type="filter", hook="input", priority=0)),
        ("type route hook output priority mangle + 5; policy accept;", Hook(type="route", hook="output", priority=-145)),
        ('type filter hook ingress device "lo" priority -500; policy accept;', Hook(type="filter", hook="ingress", priority=-500)),
        ("type filter hook ingress devices = { eth0, lo } priority filter; policy accept;", Hook(type="filter", hook="ingress", priority=0)),
    ],
)  # fmt: skip
def test_hook(declaration: str, hook: Hook) -> None:
    chain = parse_nft_text(text_of_one("inet", declaration), "test").tables[0].chains["c"]
    assert (chain.hook, chain.policy, chain.rules) == (hook, "accept", ())


def test_what_is_no_priority_is_told() -> None:
    ruleset = parse_nft_text(text_of_one("ip", "type nat hook input priority soon; policy drop;"), "test")
    assert [(item.line, item.reason) for item in ruleset.unread] == [(3, "not a priority")]
    assert ruleset.tables[0].chains["c"].policy == "drop"


def test_what_is_no_hook_is_a_rule() -> None:
    assert read("type filter hook") == (UnknownStatement("type filter hook"),)


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ("dstnat - 10", "ip", -110),
        ("dstnat-10", "ip", -110),
        ("dstnat", "bridge", -300),
        ("out", "bridge", 100),
        ("out", "ip", None),
        ("filter", "bridge", -200),
        ("security - 1", "ip6", 49),
        ("srcnat + 5", "inet", 105),
        ("raw", "ip", -300),
        ("-225", "ip", -225),
        ("x 5", "ip", None),
        ("1" * 5000, "ip", None),
        ("", "ip", None),
    ],
)
def test_priority(text: str, family: str, expected: int | None) -> None:
    assert priority_number(text, family) == expected


@given(st.integers(min_value=0, max_value=10**8))
def test_times_are_read_as_they_are_printed(count: int) -> None:
    assert seconds(time_text(count)) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("59m52s80ms", 3592),
        ("7200s", 7200),
        ("1w1d", 691200),
        ("80ms", 0),
        ("", None),
        ("x", None),
        ("1" * 5000 + "s", None),
    ],
)
def test_time(text: str, expected: int | None) -> None:
    assert seconds(text) == expected


def test_a_terse_listing_has_empty_sets() -> None:
    text = "table ip t {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n}\n"
    assert parse_nft_text(text, "test").tables[0].sets["s"].elements == ()


def test_a_table_without_family_is_ip() -> None:
    assert parse_nft_text("table t {\n}\n", "test").tables[0].family == "ip"


def test_blocks_on_one_line() -> None:
    ruleset = parse_nft_text("table ip t {\n chain a { }\n set s { }\n chain b {\n }\n}\ntable ip u { }\n", "test")
    assert [table.name for table in ruleset.tables] == ["t", "u"]
    assert list(ruleset.tables[0].chains) == ["a", "b"]
    assert ruleset.complete
    assert ruleset.unread == ()


def test_a_table_shown_twice_is_read_once() -> None:
    text = text_of_one("ip", "accept")
    ruleset = parse_nft_text(text + text_of_one("ip6", "drop") + text, "test")
    assert [(table.family, len(table.chains["c"].rules)) for table in ruleset.tables] == [("ip", 1), ("ip6", 1)]
    (item,) = ruleset.unread
    assert item.line == 11
    assert item.reason.startswith("table ip t is shown a second time")
    assert ruleset.complete


def test_an_empty_listing_is_an_empty_rule_set() -> None:
    for text in ("", "\n", "# Warning: table ip nat is managed by iptables-nft, do not touch!\n"):
        ruleset = parse_nft_text(text, "test")
        assert (ruleset.tables, ruleset.unread, ruleset.complete) == ((), (), True)


@pytest.mark.parametrize("text", ["sh: nft: not found\n", "Error: syntax error {\n x\n", '{"nftables": []}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="is not a listing of nftables rules") as raised:
        parse_nft_text(text, "nft.txt")
    assert raised.value.line == 1
    assert "nft list ruleset" in raised.value.hint


def test_lines_that_are_not_understood_are_told() -> None:
    text = "table ip t {\n\tcolour red\n\tset s {\n\t\ttypeof numgen random\n\t\tcolour red\n\t\telements == { 5 }\n\t}\n}\nnoise {\n}\n"
    ruleset = parse_nft_text(text, "test")
    assert [(item.line, item.reason) for item in ruleset.unread] == [
        (2, "not a line of a table"),
        (4, "not a line of a set"),
        (5, "not a line of a set"),
        (6, "not a line of a set"),
        (9, "not a line of a rule set"),
    ]
    assert ruleset.complete


def test_a_cut_listing_is_not_complete() -> None:
    whole = parse_nft_text(LISTING, "test")
    rules = whole.tables[0].chains["filter-input"].rules
    end = LISTING.rindex("}\ntable ip6")
    for place in range(LISTING.index("table"), end):
        ruleset = parse_nft_text(LISTING[:place], "test") if LISTING[:place].count("{") else None
        if ruleset is None or not ruleset.tables:
            continue
        assert not ruleset.complete
        chain = ruleset.tables[0].chains.get("filter-input")
        assert (chain.rules if chain else ()) == rules[: len(chain.rules) if chain else 0]


def test_a_cut_line_is_left_out() -> None:
    ruleset = parse_nft_text("table ip t {\n\tchain c {\n\t\taccept\n\t\tip daddr 10.0.0.1 dr", "test")
    assert only_rule(ruleset).statements == (Verdict("accept"),)
    assert [(item.line, item.text) for item in ruleset.unread] == [(4, "ip daddr 10.0.0.1 dr")]
    assert not ruleset.complete


def test_elements_that_do_not_end_are_told() -> None:
    ruleset = parse_nft_text("table ip t {\n\tset s {\n\t\telements = { 1.1.1.1,\n", "test")
    assert [(item.line, item.text) for item in ruleset.unread] == [(3, "elements = { 1.1.1.1,")]
    assert not ruleset.complete


def test_a_last_line_without_line_end_may_be_whole() -> None:
    assert parse_nft_text(text_of_one("ip", "accept").rstrip(), "test").complete
    assert parse_nft_text("table ip t {\n}\n#", "test").complete


_WORDS = st.sampled_from(
    (
        "ip ip6 tcp dport saddr daddr meta mark ct state new original fib type numgen random inc mod offset map vmap { }"
        ' ( ) , . : ; @s @th,1,2 5 0x10 0xzz "x" "a b" established,related 10.0.0.1 10.0.0.0/8 1-5 fd00::1 set == != ! /'
        " & | dnat snat to :80 10.0.0.1:80 [fd00::1]:80 masquerade redirect reject with icmp update add limit rate"
        " 1/second burst packets counter log prefix flags jump goto accept drop queue comment timeout 3h jhash socket"
        " ipsec osf rt # xt match option exthdr elements = chain table type hook priority policy"
    ).split()
)


@given(st.lists(_WORDS, min_size=1, max_size=12))
def test_any_words_are_a_rule(words: list[str]) -> None:
    ruleset = parse_nft_text(text_of_one("ip", " ".join(words)), "test")
    assert ruleset.tables[0].name == "t"


@given(st.lists(st.lists(_WORDS | st.just("\t"), max_size=6), max_size=12))
def test_any_lines_are_read_or_refused(lines: list[list[str]]) -> None:
    text = "table ip t {\n" + "\n".join(" ".join(line) for line in lines)
    assert len(parse_nft_text(text, "test").tables) >= 1


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ParseError):
        ruleset = parse_nft_text(text, "test")
        assert not ruleset.tables or "table" in text
