"""Whose chains and rules are whose."""

from __future__ import annotations

import pytest

from kdiag.walk.ownership import is_foreign, is_proxy_chain
from tests.walk.setting import ruleset


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("nat -A KUBE-SERVICES -j KUBE-SVC-A", False),
        ("nat -A KUBE-SERVICES -j ACCEPT", True),
        ("nat -A KUBE-SERVICES -d 10.96.0.10/32 -j RETURN", True),
        ("nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN", False),
        ("nat -A KUBE-POSTROUTING -j MASQUERADE", False),
        ("nat -A KUBE-SEP-A -p tcp -j DNAT --to-destination 10.0.0.1:80", False),
        ("nat -A KUBE-SVC-A -p tcp -j DNAT --to-destination 10.0.0.1:80", True),
        ("nat -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT", False),
        ("nat -A KUBE-SVC-A", False),
        ("filter -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j REJECT", False),
        ("filter -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", False),
        ("filter -A KUBE-FORWARD -j DROP", True),
        ("filter -A KUBE-FORWARD -j MARK --set-mark 0x1", False),
        ("filter -A FORWARD -j KUBE-FORWARD", False),
        ("filter -A FORWARD -j ACCEPT", True),
    ],
)
def test_whose_rule_it_is(line: str, foreign: bool) -> None:
    table, _, chain = line.split()[:3]
    found = ruleset(line).chain(table, chain)
    assert found is not None
    assert is_foreign(chain, found.rules[0]) is foreign


def test_whose_policy_it_is() -> None:
    assert is_foreign("FORWARD", None)
    assert not is_foreign("KUBE-FORWARD", None)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("KUBE-SERVICES", True),
        ("KUBE-SVC-XYZ", True),
        ("KUBE-XLB-XYZ", True),
        ("KUBE-FIREWALL", True),
        ("KUBE-ROUTER-INPUT", False),
        ("KUBE-POD-FW-ABC", False),
        ("cali-PREROUTING", False),
        ("PREROUTING", False),
    ],
)
def test_names_of_kube_proxys_chains(name: str, ours: bool) -> None:
    assert is_proxy_chain(name) is ours
