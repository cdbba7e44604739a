from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.checks.localnet_unguarded import CHECK
from kdiag.model.addresses import Family
from kdiag.model.host import HostFacts, Process
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.report import Finding, Severity
from kdiag.model.rules import Backend, Chain, NetworkMatch, Rule, Ruleset, Table
from tests.checks.builders import network, node_view, view

SOURCE = "nodes/node01/iptables-save.txt"


def ruleset(*rules: Rule, **changes: Any) -> Ruleset:
    chain = Chain(name="KUBE-FIREWALL", policy=None, rules=rules)
    built = Ruleset(
        family=Family.IPV4,
        backend=Backend.UNKNOWN,
        source=SOURCE,
        tables={"filter": Table(name="filter", chains={"KUBE-FIREWALL": chain})},
    )
    return replace(built, **changes)


def rule(target: str = "DROP", destination: str | None = "127.0.0.0/8", *, negated: bool = False) -> Rule:
    match = NetworkMatch(networks=(network(destination),), negated=negated) if destination else None
    return Rule(table="filter", chain="KUBE-FIREWALL", line=3, text="", destination=match, target=target)


def found(
    *rulesets: Ruleset, routed: str | None = "1", processes: tuple[str, ...] = (), **changes: Any
) -> list[Finding]:
    host = HostFacts(
        sysctls={"net.ipv4.conf.all.route_localnet": routed} if routed else {},
        processes=tuple(Process(pid=9, argv=(item,) if item else (), source="ps") for item in processes),
        sources={"sysctls": "nodes/node01/sysctl.txt"},
    )
    return list(CHECK.run(view(nodes=[node_view(host=host, rulesets=rulesets, **changes)])))


def test_no_guard() -> None:
    (finding,) = found(ruleset())
    assert (finding.code, finding.severity, finding.node) == ("KD410", Severity.INFO, "node01")
    assert "kube-proxy writes" in finding.message
    assert [item.source for item in finding.evidence] == ["nodes/node01/sysctl.txt", SOURCE]


def test_the_guard_silences_it() -> None:
    assert found(ruleset(rule())) == []
    assert found(ruleset(rule("REJECT"))) == []


@pytest.mark.parametrize(
    "other", [rule("ACCEPT"), rule(destination=None), rule(negated=True), rule(destination="10.0.0.0/8")]
)
def test_rules_that_are_no_guard(other: Rule) -> None:
    assert len(found(ruleset(other))) == 1


def test_an_empty_filter_table_has_no_guard() -> None:
    assert len(found(ruleset(tables={}))) == 1


def test_only_where_somebody_ought_to_have_written_it() -> None:
    assert found(ruleset(), version=(1, 26)) == []
    assert found(ruleset(), version=None) == []
    assert found(ruleset(), mode=ProxyMode.NFTABLES) == []
    assert found(ruleset(), config=ProxyConfig(source="x", localhost_node_ports=False)) == []
    assert len(found(ruleset(), config=ProxyConfig(source="x"))) == 1
    (finding,) = found(ruleset(), version=(1, 20), processes=("", "/usr/bin/kubelet"))
    assert "the kubelet writes" in finding.message


def test_what_was_not_seen_whole_is_left_alone() -> None:
    assert found() == []
    assert found(ruleset(covers=frozenset({"nat"}))) == []
    assert found(ruleset(complete=False)) == []
    assert found(ruleset(family=Family.IPV6)) == []
    assert found(ruleset(), routed="0") == []
    assert found(ruleset(), routed=None) == []
    assert found(ruleset(), other_proxy="Cilium") == []
