"""Expressions as the JSON form has them, where the text form is written otherwise."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.model import nft
from kdiag.model.addresses import Family
from kdiag.model.dataplane import Position
from kdiag.walk.cases import cases_of
from kdiag.walk.meaning import Surroundings
from kdiag.walk.nft_rules import NftSpace
from kdiag.walk.program import Program
from kdiag.walk.walker import Walker
from tests.walk.nft_setting import base
from tests.walk.nft_setting import nft as parsed
from tests.walk.setting import NETWORKS, POD, VIP, clients_at, describe, frontend


def matched(left: nft.Expression, operator: str, right: nft.Expression) -> str:
    """`yes`, `no` or `?`: whether a rule with this match takes the packet of a pod."""
    ruleset = parsed(base("drop"))
    (table,) = ruleset.tables
    chain = table.chains["c"]
    rule = structs.replace(chain.rules[0], statements=(nft.Match(left, operator, right), nft.Verdict("drop")))
    made = structs.replace(table, chains={"c": structs.replace(chain, rules=(rule,))})
    network = NETWORKS[Family.IPV4]
    space = NftSpace(structs.replace(ruleset, tables=(made,)), Family.IPV4)
    walker = Walker(Program((space,), Surroundings(network=network)))
    leaves = walker.walk(frontend(VIP, 80, Position.POD), clients_at(network, Position.POD, VIP, POD))
    (case,) = cases_of(leaves)
    ends = describe(case)[1]
    return "?" if len(ends) == 2 else "yes" if ends == ["dropped"] else "no"


def flags(*words: str) -> nft.SetLiteral:
    return nft.SetLiteral(tuple(nft.Value(word) for word in words))


TCP_FLAGS = nft.Payload("tcp", "flags")
MASKED = nft.Binary("&", TCP_FLAGS, flags("fin", "syn", "rst", "ack"))
MARK = nft.Meta("mark")
DADDR = nft.Payload("ip", "daddr")
SADDR = nft.Payload("ip", "saddr")
V = nft.Value
ODD = nft.UnknownExpression("odd")


@pytest.mark.parametrize(
    ("left", "operator", "right", "expected"),
    [
        (MASKED, "==", V("syn"), "yes"),
        (MASKED, "==", flags("syn"), "yes"),
        # All of them, not one of them.
        (MASKED, "==", flags("fin", "syn"), "no"),
        (MASKED, "!=", flags("fin", "syn"), "yes"),
        (MASKED, "==", flags("fin", "odd"), "?"),
        (TCP_FLAGS, "in", flags("syn", "ack"), "yes"),
        (TCP_FLAGS, "==", nft.Binary("|", V("syn"), V("ack")), "no"),
        (TCP_FLAGS, "==", nft.Binary("|", V("syn"), ODD), "?"),
        (TCP_FLAGS, "==", nft.Binary("%", V("syn"), V("ack")), "?"),
        (nft.Binary("&", nft.Payload("udp", "dport"), V(1)), "==", V(0), "no"),
        (nft.Binary("&", nft.Payload("tcp", "sport"), V(1)), "==", V(0), "?"),
        (nft.Binary("%", MARK, V(2)), "==", V(0), "?"),
        (nft.Binary("&", MARK, nft.SetLiteral((V(1), V(2)))), "==", V(0), "?"),
        (nft.Binary("&", MARK, V("0x4")), "==", V("0x0"), "yes"),
        (nft.Binary("&", MARK, V("odd")), "==", V(0), "?"),
        (MARK, "==", nft.Span(V(0), V(7)), "yes"),
        (MARK, "==", nft.Span(V(0), ODD), "?"),
        (MARK, "==", V("odd"), "?"),
        (MARK, "==", nft.SetLiteral((nft.Wildcard(),)), "yes"),
        (MARK, "==", ODD, "?"),
        (DADDR, "==", V(7), "?"),
        (DADDR, "==", V("fd00::1"), "?"),
        (DADDR, "==", nft.Prefix("fd00::", 8), "?"),
        (DADDR, "==", nft.Span(V("10.96.0.1"), ODD), "?"),
        (DADDR, "==", nft.SetLiteral((nft.Wildcard(),)), "yes"),
        (SADDR, "==", nft.SetLiteral((nft.Wildcard(),)), "yes"),
        (SADDR, "!=", nft.SetLiteral((nft.Wildcard(),)), "no"),
        (SADDR, "==", ODD, "?"),
        (nft.Fib("type", ("saddr",)), "==", V("odd"), "?"),
        (nft.Fib("oif", ("saddr",)), "==", V(0), "no"),
        (nft.Fib("oif", ("saddr",)), "==", V("exists"), "yes"),
        (nft.Fib("oif", ("saddr",)), "==", V("eth0"), "?"),
        (nft.Fib("odd", ("saddr",)), "==", V(0), "?"),
        (nft.Meta("l4proto"), "==", V(6), "yes"),
        (nft.Meta("l4proto"), "==", ODD, "?"),
        (nft.Meta("pkttype"), "==", V("unicast"), "yes"),
        (nft.Meta("pkttype"), "==", ODD, "?"),
        (nft.Ct("state"), "in", nft.SetLiteral((nft.Wildcard(),)), "yes"),
        (nft.Ct("protocol"), "==", V("tcp"), "yes"),
        (nft.Meta("iif"), "==", V(7), "?"),
        (nft.Concat((nft.Meta("iifname"), nft.Meta("oifname"))), "==", nft.Concat((V("cni0"), V("eth0"))), "?"),
        (nft.Concat((DADDR, nft.Meta("l4proto"))), "==", nft.Concat((V(VIP),)), "?"),
        (V(1), "==", V(1), "yes"),
        (V("one"), "==", V("two"), "no"),
    ],
)
def test_a_match(left: nft.Expression, operator: str, right: nft.Expression, expected: str) -> None:
    assert matched(left, operator, right) == expected
