"""Each structural fault fires, and stays silent beside it."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.compare import compare
from kdiag.model.addresses import Family
from kdiag.model.difference import CauseKind, Condition
from kdiag.model.proxy import Version
from kdiag.model.rules import Backend, Ruleset
from kdiag.planes.interface import ReadingOrder
from kdiag.planes.iptables_conditions import conditions_of, has_base_jump, serves, two_backends
from kdiag.planes.iptables_jumps import BASE_JUMPS, BaseJump
from tests.checks import builders as b
from tests.planes.builders import CONFIG, FILTER, NAT, RULES, STATE, order, read, ruleset, without


def conditions(rules: str | Ruleset = RULES, given: ReadingOrder | None = None) -> tuple[Condition, ...]:
    asked = given or order()
    known = rules if isinstance(rules, Ruleset) else ruleset(rules)
    return conditions_of(known, asked.expected.behaviours, asked, Family.IPV4)


def told(rules: str | Ruleset = RULES, given: ReadingOrder | None = None) -> list[tuple[str, str]]:
    return [(item.cause.name, item.expected) for item in conditions(rules, given)]


def test_sound_rules_show_no_condition() -> None:
    assert conditions() == ()
    reading = read(ruleset())
    assert compare(order().expected, reading.data_plane, conditions=reading.conditions).groups == ()


def test_where_nothing_is_expected_nothing_is_missing() -> None:
    empty = order(b.cluster())
    assert conditions("*nat\nCOMMIT\n", empty) == ()


# -- never wrote -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules", ["", "*filter\nCOMMIT\n", "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\nCOMMIT\n"]
)
def test_no_chain_of_kube_proxy(rules: str) -> None:
    (found,) = conditions(rules)
    assert (found.cause, found.stands_alone) == (CauseKind.NEVER_WROTE, True)
    assert "no chain of kube-proxy" in found.detail


@pytest.mark.parametrize("chain", ["KUBE-SERVICES", "KUBE-SVC-A", "KUBE-SEP-A", "KUBE-EXT-A"])
def test_one_chain_of_kube_proxy_is_a_trace_of_it(chain: str) -> None:
    causes = {item.cause for item in conditions(f"*nat\n:{chain} - [0:0]\nCOMMIT\n")}
    assert CauseKind.NEVER_WROTE not in causes
    assert CauseKind.BASE_JUMP in causes


# -- base jumps --------------------------------------------------------------------------------------------------------


def _line(jump: BaseJump) -> str:
    part = NAT if jump.table == "nat" else FILTER
    (line,) = (
        line for line in part.splitlines() if line.startswith(f"-A {jump.hook} ") and line.endswith(f"-j {jump.target}")
    )
    return line


@pytest.mark.parametrize("jump", BASE_JUMPS, ids=lambda jump: f"{jump.table}-{jump.hook}-{jump.target}")
def test_each_missing_base_jump(jump: BaseJump) -> None:
    (found,) = conditions(RULES.replace(_line(jump) + "\n", "", 1))
    assert found.cause is CauseKind.BASE_JUMP
    assert found.expected == f"{jump.table} {jump.hook}: -j {jump.target}"
    assert jump.harm in found.detail
    assert [rule.text for rule in found.rules] == [f":{jump.hook} ACCEPT"]


@pytest.mark.parametrize("jump", BASE_JUMPS, ids=lambda jump: f"{jump.table}-{jump.hook}-{jump.target}")
def test_releases_that_did_not_write_it_do_not_miss_it(jump: BaseJump) -> None:
    rules = RULES.replace(_line(jump) + "\n", "", 1)

    def missing(version: Version | None) -> bool:
        return bool(conditions(rules, order(version=version)))

    assert missing(jump.since)
    assert missing((1, 37))
    assert missing(None) is (jump.since == (1, 16))
    if jump.since > (1, 16):
        assert not missing((jump.since[0], jump.since[1] - 1))


def test_a_table_that_was_not_recorded_misses_nothing() -> None:
    nat_only = structs.replace(ruleset(NAT), covers=frozenset({"nat"}))
    assert conditions(nat_only) == ()
    assert {name for name, _ in told(ruleset(NAT))} == {"BASE_JUMP", "FLUSHED"}


def test_a_table_without_the_hook_is_shown_without_evidence() -> None:
    assert [item.rules for item in conditions(NAT)] == [()] * 9


# -- flushed chains ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "starts", "alone"),
    [("nat KUBE-SERVICES", "-A KUBE-SERVICES", True), ("nat KUBE-NODEPORTS", "-A KUBE-NODEPORTS", True)],
)
def test_a_chain_of_nat_that_is_empty_or_gone(chain: str, starts: str, alone: bool) -> None:
    name = chain.split()[1]
    for nat in (without(NAT, starts), without(NAT, starts, f":{name} ")):
        found = [item for item in conditions(FILTER + nat) if item.cause is CauseKind.FLUSHED]
        assert [(item.expected.startswith(chain), item.stands_alone) for item in found] == [(True, alone)]
        assert ("is empty" in found[0].detail) is (f":{name} " in nat)
        assert found[0].actual == ("no rules" if f":{name} " in nat else "no such chain")


def test_an_empty_filter_chain_is_told_only_where_something_suffers() -> None:
    rules = without(FILTER, "-A KUBE-SERVICES") + NAT
    (found,) = conditions(rules)
    assert (found.cause, found.stands_alone) == (CauseKind.FLUSHED, False)
    reading = read(ruleset(rules))
    groups = compare(order().expected, reading.data_plane, conditions=reading.conditions).groups
    assert [(item.cause, len(item.differences)) for item in groups] == [(CauseKind.FLUSHED, 3)]


def test_chains_with_nothing_to_hold_may_be_empty() -> None:
    only_idle = b.cluster(b.service("idle", cluster_ips=["10.96.0.60"]))
    empty_nat = without(NAT, "-A KUBE-SERVICES", "-A KUBE-NODEPORTS")
    assert conditions(FILTER + empty_nat, order(only_idle)) == ()
    no_node_port = b.cluster(b.service("web"), b.endpoint_slice("web", b.endpoint()))
    assert conditions(FILTER + without(NAT, "-A KUBE-NODEPORTS"), order(no_node_port)) == ()
    only_web = b.cluster(*STATE.services[:1], *STATE.slices)
    assert conditions(without(FILTER, "-A KUBE-SERVICES") + NAT, order(only_web)) == ()


# -- NodePort dispatch -------------------------------------------------------------------------------------------------

DISPATCH = "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"


def test_the_missing_jump_to_node_ports() -> None:
    (found,) = conditions(RULES.replace(DISPATCH, ""))
    assert found.cause is CauseKind.NODE_PORT_DISPATCH
    assert found.rules[0].text == ":KUBE-SERVICES -"


def test_any_jump_to_node_ports_will_do_and_without_node_ports_none_is_needed() -> None:
    by_address = DISPATCH.replace("-m addrtype --dst-type LOCAL", "-d 192.168.56.11/32")
    assert conditions(RULES.replace(DISPATCH, by_address)) == ()
    no_node_port = b.cluster(b.service("web"), b.endpoint_slice("web", b.endpoint()))
    assert conditions(RULES.replace(DISPATCH, ""), order(no_node_port)) == ()


# -- masquerade --------------------------------------------------------------------------------------------------------

MARK = "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
MASQUERADE = "-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n"


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (MARK, "", "KUBE-MARK-MASQ of table nat sets no mark"),
        (MARK, "-A KUBE-MARK-MASQ -j RETURN\n", "KUBE-MARK-MASQ of table nat sets no mark"),
        (MASQUERADE, "", "KUBE-POSTROUTING of table nat has no MASQUERADE"),
        ("! --mark 0x4000/0x4000", "! --mark 0x1/0x1", "sets mark 0x4000 and KUBE-POSTROUTING asks for 0x1"),
        (MARK, "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x1/0x1\n", "sets mark 0x1 and KUBE-POSTROUTING asks for 0x4000"),
    ],
)
def test_what_masquerade_needs(old: str, new: str, detail: str) -> None:
    (found,) = conditions(RULES.replace(old, new))
    assert found.cause is CauseKind.MASQUERADE_RULE
    assert detail in found.detail
    assert found.rules


@pytest.mark.parametrize("name", ["KUBE-MARK-MASQ", "KUBE-POSTROUTING"])
def test_chains_of_masquerade_that_are_gone(name: str) -> None:
    rules = FILTER + without(NAT, f":{name} ", f"-A {name} ")
    found = [item for item in conditions(rules) if item.cause is CauseKind.MASQUERADE_RULE]
    assert [item.detail for item in found] == [f"chain {name} of table nat does not exist"]
    assert found[0].rules == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (MARK, MARK + MARK),
        (MARK, MARK.replace("--set-xmark 0x4000/0x4000", "--or-mark 0x4000")),
        (MASQUERADE, "-A KUBE-POSTROUTING -j MASQUERADE\n"),
        (MASQUERADE, "-A KUBE-POSTROUTING -j SNAT --to-source 192.168.56.11\n"),
        (MARK, MARK.replace("MARK --set-xmark 0x4000/0x4000", "MARK --set-xmark nonsense") + MARK),
        # Up to 1.18 one rule asks for the mark and masquerades.
        ("-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n", ""),
    ],
)
def test_other_ways_to_write_it(old: str, new: str) -> None:
    assert old in RULES
    assert conditions(RULES.replace(old, new)) == ()


# -- the pods' range ---------------------------------------------------------------------------------------------------


def test_masquerade_rules_with_another_range() -> None:
    (found,) = conditions(RULES.replace("! -s 10.244.0.0/16", "! -s 10.0.0.0/8"))
    assert (found.cause, found.expected, found.actual) == (
        CauseKind.LOCAL_DETECTION,
        "! -s 10.244.0.0/16",
        "! -s 10.0.0.0/8 in 1 rules",
    )


def test_masquerade_rules_without_any_range() -> None:
    found = conditions(RULES.replace("! -s 10.244.0.0/16 ", ""))
    assert {item.cause for item in found} == {CauseKind.LOCAL_DETECTION}
    assert not any(item.stands_alone for item in found)


def test_without_a_range_to_expect_none_is_wrong() -> None:
    blind = order(config=structs.replace(CONFIG, cluster_cidrs=()))
    assert conditions(RULES.replace("! -s 10.244.0.0/16", "! -s 10.0.0.0/8"), blind) == ()


# -- two backends ------------------------------------------------------------------------------------------------------


def test_two_backends_that_both_lead_to_services() -> None:
    legacy = ruleset(backend=Backend.LEGACY, source="nodes/node01/iptables-legacy-save.txt")
    found = two_backends(ruleset(), (legacy,), Family.IPV4, {})
    assert found is not None
    assert (found.cause, found.actual) == (CauseKind.TWO_BACKENDS, "Service rules in nft and in legacy")
    assert [rule.source for rule in found.rules] == [
        "nodes/node01/iptables-save.txt",
        "nodes/node01/iptables-legacy-save.txt",
    ]


@pytest.mark.parametrize("other", ["", "*nat\n:DOCKER - [0:0]\nCOMMIT\n", without(NAT, "-A PREROUTING", "-A OUTPUT")])
def test_left_overs_that_nothing_leads_to_are_no_second_backend(other: str) -> None:
    legacy = ruleset(other, backend=Backend.LEGACY)
    assert two_backends(ruleset(), (legacy,), Family.IPV4, {}) is None
    assert not has_base_jump(legacy)


def test_what_serves() -> None:
    assert serves(ruleset())
    assert serves(ruleset("*nat\n:KUBE-SVC-A - [0:0]\nCOMMIT\n"))
    assert not serves(ruleset("*nat\n:DOCKER - [0:0]\nCOMMIT\n"))
    assert not serves(ruleset("*filter\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"))
