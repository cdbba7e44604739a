"""The random rule sets hold everything that the walker claims to know: read off the walker's own registries."""

from __future__ import annotations

import ast
import inspect
import random
import textwrap
from functools import cache

from kdiag.model.addresses import Family
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.walk import matches, nft_statements, nft_values, targets
from kdiag.walk.iptables_rules import EFFECTS
from tests.proof.lab import SITES
from tests.proof.match_words import MATCHES
from tests.proof.nft_rulesets import generate_nft
from tests.proof.rulesets import TARGETS, generate

RULESETS = 400

# What the walker knows, and no random rule set holds: each with its reason.
OPTIONS_LEFT_OUT = {
    ("comment", "comment"): "read as the rule's comment: no option is left of it",
    ("nfacct", "nfacct-name"): "needs an object that only nfacct can make",
    **{
        (module, long): "iptables-save prints the short form"
        for module in ("tcp", "udp", "sctp", "dccp", "udplite")
        for long in ("destination-port", "source-port")
    },
    **{("multiport", long): "iptables-save prints the short form" for long in ("destination-ports", "source-ports")},
    ("udplite", "dport"): "iptables has no such match (1.8.9)",
    ("udplite", "sport"): "iptables has no such match (1.8.9)",
}
TARGETS_LEFT_OUT = {
    "NOTRACK": "iptables-save prints CT --notrack",
    "ULOG": "gone from kernels since 3.17",
    "IDLETIMER": "its timers are of the whole machine",
    "LED": "needs a lamp",
    "RATEEST": "needs an estimator that another rule made",
    "SECMARK": "needs a security module",
    "CONNSECMARK": "needs a security module",
    "TEE": "sends each packet twice",
    "SET": "changes the sets that other rules ask",
    "TCPMSS": "takes only rules that ask for SYN packets in one way",
}


@cache
def _iptables_words() -> tuple[frozenset[tuple[str, str]], frozenset[str], frozenset[str]]:
    """Match options, match modules and targets in many random rule sets."""
    known = (*MATCHES, *TARGETS)
    options: set[tuple[str, str]] = set()
    modules: set[str] = set()
    found: set[str] = set()
    for number in range(RULESETS):
        family = list(Family)[number % 2]
        text = generate(random.Random(f"coverage/{number}"), SITES[family], known)
        ruleset = parse_iptables_save(text, family=family, source="coverage")
        assert not ruleset.unread
        for table in ruleset.tables.values():
            for chain in table.chains.values():
                for rule in chain.rules:
                    options |= {(option.module, option.name) for option in rule.matches}
                    modules |= set(rule.modules)
                    found |= {rule.target} if rule.target else set()
    return frozenset(options), frozenset(modules), frozenset(found)


def test_every_match_option_of_iptables_is_generated() -> None:
    options, modules, _ = _iptables_words()
    assert set(matches.READERS) - options == set(OPTIONS_LEFT_OUT)
    assert {"rpfilter", "comment", "tcp", "udp", "sctp", "dccp"} <= modules
    assert matches.BARE - modules == {"nfacct", "udplite"}
    # `recent` remembers clients from one packet to the next: it has a test of its own (test_referee).
    assert "recent" not in modules


def test_every_target_of_iptables_is_generated() -> None:
    _, _, found = _iptables_words()
    known = {name for name in EFFECTS if name is not None} | targets.GOES_ON
    assert known - found == set(TARGETS_LEFT_OUT)


# -- nftables ------------------------------------------------------------------------------------------------------------


def _case_words(function: object) -> set[str]:
    """The words that the cases of a function name."""
    assert callable(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.MatchValue)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


@cache
def _nft_text() -> str:
    return "\n".join(
        generate_nft(random.Random(f"coverage/{number}"), SITES[list(Family)[number % 2]]) for number in range(RULESETS)
    )


# What nft(8) prints for it, where that is not the word itself; None: not generated, and why.
META = {
    "l4proto": "meta l4proto",
    "mark": "meta mark",
    "nfproto": "meta nfproto",
    "protocol": "meta protocol",
    "iifname": "iifname",
    "oifname": "oifname",
    "iif": "iif ",
    "oif": "oif ",
    "pkttype": "meta pkttype",
    "skuid": "meta skuid",
    "skgid": "meta skgid",
}
CT = {
    "state": "ct state",
    "mark": "ct mark",
    "direction": "ct direction",
    "daddr": "ct original ip daddr",
    "ip daddr": "ct original ip daddr",
    "ip6 daddr": "ct original ip6 daddr",
    "proto-dst": "ct original proto-dst",
    "protocol": "ct original protocol",
    "l4proto": "ct original protocol",
}
HEADER = {
    "saddr": "ip saddr",
    "daddr": "ip daddr",
    "protocol": "ip protocol",
    "nexthdr": "ip6 nexthdr",
    "version": "ip version",
}
STATEMENTS = {
    "accept": "accept",
    "drop": "drop",
    "return": "return",
    "continue": "continue",
    "jump": "jump ",
    "goto": "goto ",
    "masquerade": "masquerade",
    "snat": "snat ",
    "redirect": "redirect",
    "dnat": "dnat ",
}
KINDS = {"type": "fib daddr type", "oif": "fib saddr . iif oif", "oifname": "fib saddr . iif oifname"}


def _generated(words: dict[str, str]) -> set[str]:
    return {name for name, printed in words.items() if printed in _nft_text()}


def test_every_key_of_nftables_is_generated() -> None:
    assert _case_words(nft_values._meta) == set(META) == _generated(META)
    assert _case_words(nft_values._connection) == set(CT) == _generated(CT)
    assert _case_words(nft_values._network_header) == set(HEADER) == _generated(HEADER)
    assert {"&", "|", "^", "<<", ">>"} == _case_words(nft_values._combine)
    assert all(f" {operator} " in _nft_text() for operator in "&|^")


def test_every_verdict_and_translation_of_nftables_is_generated() -> None:
    named = _case_words(nft_statements.verdict_actions) | _case_words(nft_statements.Deeds.translate)
    assert named == set(STATEMENTS) == _generated(STATEMENTS)
    for word in ("reject", "notrack", "vmap {", "map @", "numgen random", "limit rate", "counter", "log"):
        assert word in _nft_text(), word
    assert set(KINDS) == _generated(KINDS)
