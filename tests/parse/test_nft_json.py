"""`nft -j list ruleset`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

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
    Fib,
    Hook,
    Limit,
    MapLiteral,
    MapLookup,
    Match,
    Meta,
    NftRule,
    NftRuleset,
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
from kdiag.parse.nft_json import parse_nft_json
from tests.parse.nft_samples import only_rule

MARK = {"meta": {"key": "mark"}}
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
SEEN = Payload("ip", "saddr")


def document(*objects: object) -> str:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.9", "json_schema_version": 1}}, *objects]})


def rule_object(*statements: object, family: str = "ip", **more: object) -> dict[str, Any]:
    return {"rule": {"family": family, "table": "t", "chain": "c", "handle": 7, **more, "expr": list(statements)}}


def read_rule(*statements: object, family: str = "ip") -> NftRule:
    return only_rule(parse_nft_json(document(rule_object(*statements, family=family)), "test"))


def match(left: object, operator: str, right: object) -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def read_set(kind: str = "set", **body: object) -> NftSet:
    ruleset = parse_nft_json(document({kind: {"family": "ip", "table": "t", "name": "s", **body}}), "test")
    assert ruleset.unread == ()
    table = ruleset.table("ip", "t")
    assert table is not None
    return table.sets["s"]


STATEMENTS: list[tuple[object, Statement, str]] = [
    ({"accept": None}, Verdict("accept"), "accept"),
    ({"jump": {"target": "x"}}, Verdict("jump", "x"), "jump x"),
    ({"queue": {"num": 5}}, Verdict("queue"), "queue"),
    (match(DPORT, "==", 80), Match(Payload("tcp", "dport"), "==", Value(80)), "tcp dport 80"),
    (match(DPORT, "==", "domain"), Match(Payload("tcp", "dport"), "==", Value(53)), "tcp dport 53"),
    (match(DPORT, "==", "no-such"), Match(Payload("tcp", "dport"), "==", Value("no-such")), "tcp dport no-such"),
    (
        match(DPORT, "==", {"range": [1000, 2000]}),
        Match(Payload("tcp", "dport"), "==", Span(Value(1000), Value(2000))),
        "tcp dport 1000-2000",
    ),
    (
        match(DPORT, "!=", {"set": [80, {"range": ["http", "https"]}]}),
        Match(Payload("tcp", "dport"), "!=", SetLiteral((Value(80), Span(Value(80), Value(443))))),
        "tcp dport != { 80, 80-443 }",
    ),
    (match({"meta": {"key": "l4proto"}}, "==", 6), Match(Meta("l4proto"), "==", Value("tcp")), "meta l4proto tcp"),
    (match({"meta": {"key": "l4proto"}}, "==", 99), Match(Meta("l4proto"), "==", Value(99)), "meta l4proto 99"),
    (
        match({"meta": {"key": "iifname"}}, "!=", "cni*"),
        Match(Meta("iifname"), "!=", Value("cni*")),
        'iifname != "cni*"',
    ),
    (match({"ct": {"key": "state"}}, "in", "new"), Match(Ct("state"), "in", Value("new")), "ct state new"),
    (
        match({"ct": {"key": "state"}}, "in", ["established", "related"]),
        Match(Ct("state"), "in", SetLiteral((Value("established"), Value("related")))),
        "ct state established,related",
    ),
    (
        match({"ct": {"key": "state"}}, "in", [2, 4]),
        Match(Ct("state"), "in", SetLiteral((Value("established"), Value("related")))),
        "ct state established,related",
    ),
    (
        # nft 1.1 joins flags by an operator where 1.0 has a list
        match({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": ["fin", "syn", "ack"]}]}, "==", "syn"),
        Match(
            Binary("&", Payload("tcp", "flags"), SetLiteral((Value("fin"), Value("syn"), Value("ack")))),
            "==",
            Value("syn"),
        ),
        "tcp flags syn / fin,syn,ack",
    ),
    (
        match({"payload": {"protocol": "tcp", "field": "flags"}}, "!", "syn"),
        Match(Binary("&", Payload("tcp", "flags"), Value("syn")), "==", Value(0)),
        "tcp flags ! syn",
    ),
    (
        match({"ct": {"key": "ip daddr", "dir": "original"}}, "==", {"prefix": {"addr": "10.96.0.0", "len": 12}}),
        Match(Ct("ip daddr", "original"), "==", Prefix("10.96.0.0", 12)),
        "ct original ip daddr 10.96.0.0/12",
    ),
    (
        match({"fib": {"result": "type", "flags": "daddr"}}, "==", 2),
        Match(Fib("type", ("daddr",)), "==", Value("local")),
        "fib daddr type local",
    ),
    (
        match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "==", False),
        Match(Fib("oif", ("saddr", "iif")), "==", Value("missing")),
        "fib saddr . iif oif missing",
    ),
    (
        match({"&": [MARK, 0x4000]}, "!=", 0),
        Match(Binary("&", Meta("mark"), Value(0x4000)), "!=", Value(0)),
        "meta mark & 0x00004000 != 0x00000000",
    ),
    (
        match({"concat": [SADDR, DPORT]}, "==", {"set": [{"concat": ["1.1.1.1", "http"]}]}),
        Match(Concat((SEEN, Payload("tcp", "dport"))), "==", SetLiteral((Concat((Value("1.1.1.1"), Value(80))),))),
        "ip saddr . tcp dport { 1.1.1.1 . 80 }",
    ),
    (
        match({"payload": {"base": "nh", "offset": 128, "len": 32}}, "==", 5),
        Match(UnknownExpression("@nh,128,32"), "==", Value(5)),
        "@nh,128,32 5",
    ),
    (
        match({"symhash": {"mod": 4, "offset": 1}}, "==", 2),
        Match(UnknownExpression("symhash mod 4 offset 1"), "==", Value(2)),
        "symhash mod 4 offset 1 2",
    ),
    (
        match({"exthdr": {"name": "frag", "field": "id"}}, "==", 5),
        Match(UnknownExpression("frag id"), "==", Value(5)),
        "frag id 5",
    ),
    (
        match({"socket": {"key": "transparent"}}, "==", 1),
        Match(UnknownExpression("socket transparent"), "==", Value(1)),
        "socket transparent 1",
    ),
    (
        {"mangle": {"key": MARK, "value": {"|": [MARK, 0x4000]}}},
        Assign(Meta("mark"), Binary("|", Meta("mark"), Value(0x4000))),
        "meta mark set meta mark | 0x00004000",
    ),
    (
        # nft 1.1 writes a chain of one operator as one list
        {"mangle": {"key": MARK, "value": {"^": [MARK, 1, 2]}}},
        Assign(Meta("mark"), Binary("^", Binary("^", Meta("mark"), Value(1)), Value(2))),
        "meta mark set meta mark ^ 0x00000001 ^ 0x00000002",
    ),
    (
        {"mangle": {"key": MARK, "value": {"&": [MARK, {"^": [MARK, 1]}]}}},
        Assign(Meta("mark"), Binary("&", Meta("mark"), Binary("^", Meta("mark"), Value(1)))),
        "meta mark set meta mark & (meta mark ^ 0x00000001)",
    ),
    (
        {"vmap": {"key": SADDR, "data": "@service-ips"}},
        VerdictMap(SEEN, SetReference("service-ips")),
        "ip saddr vmap @service-ips",
    ),
    (
        {
            "vmap": {
                "key": {"numgen": {"mode": "random", "mod": 2}},
                "data": {"set": [[0, {"goto": {"target": "a"}}], ["*", {"drop": None}]]},
            }
        },
        VerdictMap(Numgen("random", 2), MapLiteral(((Value(0), Verdict("goto", "a")), (Wildcard(), Verdict("drop"))))),
        "numgen random mod 2 vmap { 0 : goto a, * : drop }",
    ),
    (
        {"dnat": {"addr": "10.0.0.2", "port": 80}},
        Translate("dnat", Value("10.0.0.2"), Value(80)),
        "dnat to 10.0.0.2:80",
    ),
    ({"dnat": {"addr": "fd00::2", "port": 80}}, Translate("dnat", Value("fd00::2"), Value(80)), "dnat to [fd00::2]:80"),
    ({"dnat": {"addr": "fd00::2"}}, Translate("dnat", Value("fd00::2")), "dnat to fd00::2"),
    (
        {
            "dnat": {
                "family": "ip",
                "addr": {
                    "map": {
                        "key": {"numgen": {"mode": "random", "mod": 1, "offset": 0}},
                        "data": {"set": [[0, {"concat": ["10.0.0.1", "http"]}]]},
                    }
                },
            }
        },
        Translate(
            "dnat",
            MapLookup(Numgen("random", 1), MapLiteral(((Value(0), Concat((Value("10.0.0.1"), Value(80)))),))),
            family="ip",
        ),
        "dnat ip to numgen random mod 1 map { 0 : 10.0.0.1 . 80 }",
    ),
    (
        {"snat": {"family": "ip", "addr": {"prefix": {"addr": "10.0.0.0", "len": 8}}, "type_flags": "prefix"}},
        Translate("snat", Prefix("10.0.0.0", 8), flags=("netmap",), family="ip"),
        "snat ip prefix to 10.0.0.0/8",
    ),
    ({"masquerade": None}, Translate("masquerade"), "masquerade"),
    (
        {"masquerade": {"flags": ["random", "persistent"]}},
        Translate("masquerade", flags=("random", "persistent")),
        "masquerade random,persistent",
    ),
    (
        {"masquerade": {"flags": "fully-random"}},
        Translate("masquerade", flags=("fully-random",)),
        "masquerade fully-random",
    ),
    ({"redirect": {"port": 8080}}, Translate("redirect", port=Value(8080)), "redirect to :8080"),
    ({"reject": None}, Reject("icmp", "port-unreachable"), "reject"),
    ({"reject": {"type": "icmp", "expr": 3}}, Reject("icmp", "port-unreachable"), "reject"),
    (
        {"reject": {"type": "icmp", "expr": "host-unreachable"}},
        Reject("icmp", "host-unreachable"),
        "reject with icmp host-unreachable",
    ),
    ({"reject": {"type": "tcp reset"}}, Reject("tcp reset"), "reject with tcp reset"),
    (
        {"set": {"op": "update", "elem": SADDR, "set": "@affinity"}},
        SetChange("update", "affinity", SEEN),
        "update @affinity { ip saddr }",
    ),
    (
        {
            "set": {
                "op": "add",
                "elem": {"elem": {"val": SADDR, "timeout": 5400}},
                "set": "@s",
                "stmt": [{"counter": None}],
            }
        },
        SetChange("add", "s", SEEN, timeout_s=5400),
        "add @s { ip saddr timeout 1h30m }",
    ),
    (
        {
            "set": {
                "op": "add",
                "elem": SADDR,
                "set": "@s",
                "stmt": [{"limit": {"rate": 1, "per": "second", "burst": 5}}],
            }
        },
        Limit("add @s { ip saddr limit rate 1/second }"),
        "add @s { ip saddr limit rate 1/second }",
    ),
    (
        {"set": {"op": "add", "elem": SADDR, "set": "@s", "stmt": [{"new": 1}]}},
        UnknownStatement('add @s { ip saddr {"new":1} }'),
        'add @s { ip saddr {"new":1} }',
    ),
    (
        {"map": {"op": "update", "elem": SADDR, "data": 5, "map": "@m"}},
        SetChange("update", "m", SEEN, Value(5)),
        "update @m { ip saddr : 5 }",
    ),
    (
        "update @m { ip saddr : 0x00000005 }",
        SetChange("update", "m", SEEN, Value(5)),
        "update @m { ip saddr : 5 }",
    ),
    ("accept drop", UnknownStatement("accept drop"), "accept drop"),
    ({"notrack": None}, Untrack(), "notrack"),
    (
        {"limit": {"rate": 10, "burst": 20, "per": "minute", "inv": True}},
        Limit("limit rate over 10/minute burst 20 packets"),
        "limit rate over 10/minute burst 20 packets",
    ),
    (
        {"limit": {"rate": 1, "per": "second", "rate_unit": "mbytes", "burst": 5, "burst_unit": "kbytes"}},
        Limit("limit rate 1 mbytes/second burst 5 kbytes"),
        "limit rate 1 mbytes/second burst 5 kbytes",
    ),
    ({"limit": "slow"}, Limit('limit name "slow"'), 'limit name "slow"'),
    ({"quota": {"val": 10, "val_unit": "mbytes"}}, Limit("quota 10 mbytes"), "quota 10 mbytes"),
    ({"quota": "much"}, Limit('quota name "much"'), 'quota name "much"'),
    ({"ct count": {"val": 10}}, Limit("ct count 10"), "ct count 10"),
    ({"meter": {"name": "m"}}, Limit('meter {"name":"m"}'), 'meter {"name":"m"}'),
    ({"counter": {"packets": 1, "bytes": 2}}, Aside("counter packets 1 bytes 2"), "counter packets 1 bytes 2"),
    ({"counter": "hits"}, Aside('counter name "hits"'), 'counter name "hits"'),
    ({"counter": None}, Aside("counter"), "counter"),
    (
        {"log": {"prefix": "bad ", "level": "warn", "flags": ["tcp sequence", "skuid"]}},
        Aside('log prefix "bad " level warn flags tcp sequence,skuid'),
        'log prefix "bad " level warn flags tcp sequence,skuid',
    ),
    ({"ct helper": "ftp"}, Aside('ct helper set "ftp"'), 'ct helper set "ftp"'),
    (
        {"flow": {"op": "add", "flowtable": "@f"}},
        Aside('flow {"op":"add","flowtable":"@f"}'),
        'flow {"op":"add","flowtable":"@f"}',
    ),
    ({"last": "x"}, Aside("last x"), "last x"),
    ({"dup": {"addr": "10.0.0.1", "dev": "lo"}}, Aside('dup to 10.0.0.1 device "lo"'), 'dup to 10.0.0.1 device "lo"'),
    ({"fwd": {"dev": "lo"}}, UnknownStatement('fwd to "lo"'), 'fwd to "lo"'),
    ({"xt": {"type": "match", "name": "comment"}}, Aside('xt match "comment"'), 'xt match "comment"'),
    ({"xt": {"type": "target", "name": "DNAT"}}, UnknownStatement('xt target "DNAT"'), 'xt target "DNAT"'),
]


@pytest.mark.parametrize(("node", "statement", "text"), STATEMENTS, ids=[text for _, _, text in STATEMENTS])
def test_statement(node: object, statement: Statement, text: str) -> None:
    rule = read_rule(node)
    assert rule.statements == (statement,)
    assert rule.text == text


@pytest.mark.parametrize(
    "node",
    [
        {"xt": None},
        {"tproxy": {"port": 15001}},
        {"match": {"op": "~", "left": MARK, "right": 1}},
        {"match": {"op": "==", "left": MARK}},
        {"match": []},
        {"vmap": {"key": MARK, "data": {"set": [[1]]}}},
        {"vmap": {"key": MARK, "data": 5}},
        {"mangle": {"key": 5, "value": 5}},
        {"dnat": "x"},
        {"dnat": {"addr": "10.0.0.1", "flags": [1]}},
        {"reject": {"type": "icmp", "expr": ["x"]}},
        {"set": {"op": "swap", "elem": 1, "set": "@s"}},
        {"limit": {"rate": "fast", "per": "second"}},
        {"limit": [1]},
        {"quota": 5},
        {"jump": {"target": 5}},
        {"goto": "x"},
        {"accept": 1},
        {"accept": None, "drop": None},
        {},
        [],
        5,
        None,
    ],
    ids=str,
)
def test_a_statement_of_unknown_shape_stays_in_its_rule(node: object) -> None:
    rule = read_rule(match(MARK, "==", 1), node, {"drop": None})
    compact = json.dumps(node, separators=(",", ":"))
    assert rule.statements[1] == UnknownStatement(compact)
    assert rule.statements[2] == Verdict("drop")
    assert rule.text == f"meta mark 0x00000001 {compact} drop"


@pytest.mark.parametrize(
    "node",
    [
        {"payload": {"protocol": "ip"}},
        {"payload": {"protocol": "tunnel", "field": "x", "tunnel": "vxlan"}},
        {"payload": "ip"},
        {"meta": {"key": 5}},
        {"ct": {"key": "mark", "dir": 1}},
        {"fib": {"result": "type"}},
        {"numgen": {"mode": "inc", "mod": "x"}},
        {"numgen": "x"},
        {"prefix": {"addr": {"x": 1}, "len": 8}},
        {"range": [1]},
        {"concat": "x"},
        {"&": [1]},
        {"hologram": 1},
        {"osf": {"key": "name"}},
        {"a": 1, "b": 2},
        [],
        None,
        1.5,
    ],
    ids=str,
)
def test_an_expression_of_unknown_shape_stays_in_its_statement(node: object) -> None:
    compact = json.dumps(node, separators=(",", ":"))
    assert read_rule(match(node, "==", 5)).statements == (Match(UnknownExpression(compact), "==", Value(5)),)


@pytest.mark.parametrize(
    ("family", "expected"),
    [("ip", "icmp"), ("ip6", "icmpv6"), ("inet", "icmpx"), ("bridge", "icmpx"), ("arp", None)],
)
def test_the_bare_reject_is_the_default_of_the_family(family: str, expected: str | None) -> None:
    rule = read_rule({"reject": None}, family=family)
    assert rule.statements == (Reject(expected, "port-unreachable" if expected else None),)
    assert rule.text == "reject"


def test_dup_in_a_netdev_table_names_a_device() -> None:
    assert read_rule({"dup": {"addr": "eth0"}}, family="netdev").text == 'dup to "eth0"'


def test_rule_chain_table_and_version() -> None:
    ruleset = parse_nft_json(
        document(
            {"table": {"family": "ip6", "name": "t", "handle": 1, "flags": ["dormant"]}},
            {
                "chain": {
                    "family": "ip6",
                    "table": "t",
                    "name": "b",
                    "handle": 1,
                    "type": "nat",
                    "hook": "Prerouting",
                    "prio": -110,
                    "policy": "drop",
                }
            },
            {"chain": {"family": "ip6", "table": "t", "name": "c", "handle": 2}},
            rule_object({"accept": None}, family="ip6", comment="why"),
            rule_object({"drop": None}, family="ip6"),
        ),
        "nft.json",
    )
    assert (ruleset.source, ruleset.version, ruleset.unread, ruleset.complete) == ("nft.json", "1.0.9", (), True)
    (table,) = ruleset.tables
    assert (table.family, table.name, table.flags, table.line) == ("ip6", "t", frozenset({"dormant"}), 1)
    assert list(table.chains) == ["b", "c"]
    assert table.chains["b"].hook == Hook(type="nat", hook="prerouting", priority=-110)
    assert table.chains["b"].policy == "drop"
    assert (table.chains["c"].hook, table.chains["c"].policy) == (None, None)
    first, second = table.chains["c"].rules
    assert (first.comment, first.handle, first.line, first.chain) == ("why", 7, 1, "c")
    assert second.comment is None


@pytest.mark.parametrize(("prio", "expected"), [("dstnat - 10", -110), ("srcnat", 100), (None, 0)])
def test_a_priority_may_be_words(prio: str | None, expected: int) -> None:
    chain = {"chain": {"family": "ip", "table": "t", "name": "c", "type": "nat", "hook": "input", "prio": prio}}
    ruleset = parse_nft_json(document(chain), "test")
    hook = ruleset.tables[0].chains["c"].hook
    assert hook is not None
    assert hook.priority == expected
    assert ruleset.tables[0].chains["c"].policy == "accept"


def test_what_is_no_priority_is_told() -> None:
    chain = {"chain": {"family": "ip", "table": "t", "name": "c", "type": "nat", "hook": "input", "prio": "soon"}}
    assert [item.reason for item in parse_nft_json(document(chain), "test").unread] == ["not a priority"]


def test_flags_that_nft_1_0_6_prints_wrongly_are_told() -> None:
    ruleset = parse_nft_json(document({"table": {"family": "ip", "name": "t", "flags": "t"}}), "test")
    assert [item.reason for item in ruleset.unread] == ["table ip t has flags that cannot be read"]


def test_set_elements() -> None:
    made = read_set(
        type=["ipv4_addr", "inet_proto", "inet_service"],
        flags=["interval"],
        comment="what for",
        elem=[
            {"concat": ["10.0.0.1", 6, "https"]},
            {"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "udp", {"range": [80, 88]}]},
            {"elem": {"val": {"concat": ["10.0.0.2", "tcp", 80]}, "comment": "a/b", "timeout": 5, "expires": 3}},
            {"concat": ["10.0.0.3"]},
        ],
    )
    assert made.key_types == ("ipv4_addr", "inet_proto", "inet_service")
    assert made.value_type is None
    commented = Concat((Value("10.0.0.2"), Value("tcp"), Value(80)))
    assert made.elements == (
        (Concat((Value("10.0.0.1"), Value("tcp"), Value(443))), None),
        (Concat((Prefix("10.0.0.0", 8), Value("udp"), Span(Value(80), Value(88)))), None),
        (commented, None),
        (Concat((Value("10.0.0.3"),)), None),
    )
    assert made.comments == {commented: "a/b"}
    assert (made.flags, made.timeout_s) == (frozenset({"interval"}), None)


def test_an_empty_set_has_no_element_in_the_document() -> None:
    assert read_set(type="ipv4_addr").elements == ()
    assert read_set(type="ipv4_addr", elem=[]).elements == ()


def test_a_timeout_is_a_flag() -> None:
    made = read_set(type="ipv4_addr", size=65535, timeout=10800, elem=["10.0.0.1"])
    assert (made.flags, made.timeout_s, made.elements) == (frozenset({"timeout"}), 10800, ((Value("10.0.0.1"), None),))
    assert read_set(type="ipv4_addr", flags="dynamic").flags == {"dynamic"}


def test_map_elements() -> None:
    made = read_set(
        "map",
        type="inet_service",
        map="verdict",
        elem=[
            ["http", {"goto": {"target": "a"}}],
            [{"elem": {"val": 443, "comment": "b"}}, {"drop": None}],
            ["*", {"accept": None}],
            [1, 2, 3],
        ],
    )
    broken = UnknownExpression("[1,2,3]")
    assert (made.key_types, made.value_type) == (("inet_service",), "verdict")
    assert made.elements == (
        (Value(80), Verdict("goto", "a")),
        (Value(443), Verdict("drop")),
        (Wildcard(), Verdict("accept")),
        (broken, broken),
    )
    assert made.comments == {Value(443): "b"}


@pytest.mark.parametrize("value_type", ["ipv4_addr . inet_service", ["ipv4_addr", "inet_service"]])
def test_a_map_to_address_and_port(value_type: object) -> None:
    made = read_set("map", type="mark", map=value_type, elem=[[1, {"concat": ["10.0.0.1", "http"]}]])
    assert made.value_type == "ipv4_addr . inet_service"
    assert made.elements == ((Value(1), Concat((Value("10.0.0.1"), Value(80)))),)


def test_typeof_names_the_types() -> None:
    made = read_set(
        type={"typeof": {"concat": [SADDR, {"meta": {"key": "l4proto"}}, {"osf": {"key": "name"}}]}},
        elem=[{"concat": ["10.0.0.1", 17, "Linux"]}],
    )
    assert made.key_types == ("ipv4_addr", "inet_proto", "unknown")
    assert made.elements == ((Concat((Value("10.0.0.1"), Value("udp"), Value("Linux"))), None),)


def test_a_set_of_unknown_type_keeps_its_elements() -> None:
    ruleset = parse_nft_json(
        document({"set": {"family": "ip", "table": "t", "name": "s", "type": 5, "elem": ["10.0.0.1"]}}), "test"
    )
    assert [item.reason for item in ruleset.unread] == ["a set of unknown type"]
    assert ruleset.tables[0].sets["s"].elements == ((Value("10.0.0.1"), None),)


def test_objects_that_take_no_packet_are_left_out() -> None:
    kinds = ("counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "flowtable", "synproxy")
    ruleset = parse_nft_json(document(*({kind: {"family": "ip", "name": "x", "table": "t"}} for kind in kinds)), "test")
    assert (ruleset.tables, ruleset.unread) == ((), ())


@pytest.mark.parametrize(
    "node",
    [
        {"wormhole": {"family": "ip"}},
        {"add": rule_object({"accept": None})},
        {"rule": None},
        {"rule": {"family": "ip"}},
        {"chain": {"family": "ip", "table": "t", "name": 5}},
        {"metainfo": {"version": 5}},
        {},
        [],
        "x",
        None,
    ],
    ids=str,
)
def test_an_unknown_object_is_told(node: object) -> None:
    (item,) = parse_nft_json(document(node), "test").unread
    assert json.loads(item.text) == node
    assert item.reason == "not an object of the grammar"


def test_a_rule_of_unknown_shape_holds_its_place() -> None:
    broken = {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": "x", "expr": 5}}
    ruleset = parse_nft_json(document(rule_object({"accept": None}), broken, rule_object({"drop": None})), "test")
    first, second, third = ruleset.tables[0].chains["c"].rules
    assert first.statements == (Verdict("accept"),)
    assert second.statements == (UnknownStatement(json.dumps(broken)),)
    assert third.statements == (Verdict("drop"),)


def test_deep_nesting_is_unknown() -> None:
    deep = '{"mangle":{"key":' + '{"&":[1,' * 400 + "1" + "]}" * 400 + ',"value":1}}'
    text = document(rule_object({"accept": None}, "HERE")).replace('"HERE"', deep)
    first, second = only_rule(parse_nft_json(text, "test")).statements
    assert first == Verdict("accept")
    assert isinstance(second, UnknownStatement)


def test_a_number_beyond_all_types_is_unknown() -> None:
    text = document(rule_object("HERE", {"drop": None})).replace('"HERE"', '{"limit":{"rate":1e999}}')
    assert only_rule(parse_nft_json(text, "test")).statements[1] == Verdict("drop")


@pytest.mark.parametrize("make", [lambda text: text, lambda text: text.encode()], ids=["text", "bytes"])
def test_lines_of_a_document_with_line_ends(make: Callable[[str], str | bytes]) -> None:
    objects = [rule_object({"accept": None}), rule_object({"accept": None}), {"wormhole": 1}]
    text = "\n\n" + json.dumps({"nftables": objects}, indent=1) + "\n"
    lines = text.split("\n")
    ruleset = parse_nft_json(make(text), "test")
    places = [rule.line for rule in ruleset.tables[0].chains["c"].rules] + [item.line for item in ruleset.unread]
    assert [lines[place - 1] for place in places] == ["  {", "  {", "  {"]
    assert [lines[place] for place in places] == ['   "rule": {', '   "rule": {', '   "wormhole": 1']


def test_line_ends_around_one_line() -> None:
    assert only_rule(parse_nft_json(f"\n{document(rule_object({'drop': None}))}\n", "test")).line == 2


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_nft_json(b"\xef\xbb\xbf" + document().encode(), "test").version == "1.0.9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nft.json is empty"),
        (" \n", "nft.json is empty"),
        ('{"nftables": [{"table": {"family": "ip", "na', "nft.json is not valid JSON"),
        ("table ip nat {\n}\n", "nft.json is not valid JSON"),
        (b'{"nftables": [\xff]}', "nft.json is not valid JSON"),
        pytest.param('{"nftables": ' + "[" * 5000, "nft.json is not valid JSON", id="deep"),
        ("[]", "nft.json is not a list of nftables objects"),
        ("{}", "nft.json is not a list of nftables objects"),
        ('{"nftables": {}}', "nft.json is not a list of nftables objects"),
        ("null", "nft.json is not a list of nftables objects"),
        ("\ud800", "nft.json is not valid JSON"),
    ],
    ids=repr,
)
def test_what_is_no_such_document_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ParseError) as raised:
        parse_nft_json(text, "nft.json")
    assert raised.value.message.startswith(message)
    assert "nft -j list ruleset" in raised.value.hint


_WORDS = st.sampled_from(
    "family table chain name expr rule set map elem type handle prio hook comment match op left right == in payload"
    " protocol field meta key ct dir fib result flags numgen mode mod concat prefix addr len range vmap data goto jump"
    " target dnat snat redirect masquerade port reject mangle value & | xt val timeout limit rate per counter log ip"
    " ip6 inet t c @s * typeof stmt".split()
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _WORDS
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=25,
)


def _rules(ruleset: NftRuleset) -> list[NftRule]:
    return [rule for table in ruleset.tables for chain in table.chains.values() for rule in chain.rules]


@given(st.lists(_JSON, max_size=6))
def test_any_objects_are_read_or_told(objects: list[object]) -> None:
    ruleset = parse_nft_json(json.dumps({"nftables": objects}), "test")
    read = sum(len(table.sets) for table in ruleset.tables) + len(_rules(ruleset)) + len(ruleset.unread)
    assert read <= len(objects) + len(ruleset.tables)


@given(st.lists(_JSON, max_size=5))
def test_any_statements_stay_in_their_rule(statements: list[object]) -> None:
    rule = read_rule(*statements)
    assert len(rule.statements) == len(statements)


@given(_WORDS, _JSON)
def test_any_known_statement_with_any_body_stays_in_its_rule(word: str, body: object) -> None:
    rule = read_rule({word: body}, match({word: body}, "==", body), {"dnat": {"addr": body}})
    assert len(rule.statements) == 3


@given(st.lists(_JSON, max_size=5), _JSON, st.sampled_from(["set", "map"]))
def test_any_elements_are_kept(elements: list[object], kind: object, which: str) -> None:
    body = {"family": "ip", "table": "t", "name": "s", "type": kind, "map": "verdict", "elem": elements}
    ruleset = parse_nft_json(document({which: body}), "test")
    if ruleset.tables:
        assert len(ruleset.tables[0].sets["s"].elements) == len(elements)
    else:
        assert len(ruleset.unread) == 1


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    with pytest.raises(ParseError):
        parse_nft_json(text, "test")
