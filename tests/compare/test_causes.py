"""What takes precedence when differences are put down to causes."""

from __future__ import annotations

import pytest

from kdiag.compare.causes import group
from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import FrontendKind, Position
from kdiag.model.difference import CauseKind, Condition, Difference, DifferenceGroup, Symptom
from tests.checks import builders as b
from tests.compare.builders import clients, difference, frontend, ref

NOT_PROGRAMMED, REFUSED, NOT_REFUSED = Symptom.NOT_PROGRAMMED, Symptom.REFUSED, Symptom.NOT_REFUSED


def condition(
    cause: CauseKind = CauseKind.BASE_JUMP,
    *,
    positions: set[Position] | None = None,
    kinds: set[FrontendKind] | None = None,
    symptoms: set[Symptom] | None = None,
    stands_alone: bool = True,
    expected: str = "nat PREROUTING: -j KUBE-SERVICES",
    within: str | None = None,
) -> Condition:
    return Condition(
        cause=cause,
        family=Family.IPV4,
        detail="what is wrong",
        expected=expected,
        actual="no such rule",
        rules=(ref(line=3),),
        positions=frozenset(positions) if positions is not None else None,
        kinds=frozenset(kinds) if kinds is not None else None,
        symptoms=frozenset(symptoms) if symptoms is not None else None,
        clients=AddressSet.of(Family.IPV4, (b.network(within),)) if within else None,
        stands_alone=stands_alone,
    )


def causes(*items: Difference, conditions: list[Condition] | None = None) -> list[tuple[str, int]]:
    return [(found.cause.name, len(found.differences)) for found in groups(*items, conditions=conditions)]


def groups(*items: Difference, conditions: list[Condition] | None = None) -> tuple[DifferenceGroup, ...]:
    return group("node01", items, conditions or [])


# -- conditions --------------------------------------------------------------------------------------------------------


def test_nothing_makes_no_group() -> None:
    assert groups() == ()


def test_a_condition_takes_what_it_explains_and_leaves_the_rest() -> None:
    wire = condition(positions={Position.POD, Position.EXTERNAL}, symptoms={NOT_PROGRAMMED})
    pod = difference(NOT_PROGRAMMED)
    node = difference(NOT_PROGRAMMED, at=frontend(position=Position.NODE))
    masquerade = difference(Symptom.MASQUERADE_MISSING)
    assert causes(pod, node, masquerade, conditions=[wire]) == [
        ("BASE_JUMP", 1),
        ("MASQUERADE_MISSING", 1),
        ("MISSING_FRONTEND", 1),
    ]


def test_a_group_of_a_condition_carries_its_words_and_rules() -> None:
    (found,) = groups(difference(NOT_PROGRAMMED), conditions=[condition()])
    assert (found.detail, found.expected, found.actual) == (
        "what is wrong",
        "nat PREROUTING: -j KUBE-SERVICES",
        "no such rule",
    )
    assert (found.node, found.family, found.rules) == ("node01", Family.IPV4, (ref(line=3),))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (condition(stands_alone=True), [("BASE_JUMP", 0)]),
        (condition(stands_alone=False), []),
        (condition(CauseKind.LOCAL_DETECTION), []),
        (condition(CauseKind.TWO_BACKENDS), [("TWO_BACKENDS", 0)]),
    ],
)
def test_a_condition_that_explains_nothing(given: Condition, expected: list[tuple[str, int]]) -> None:
    assert causes(conditions=[given]) == expected


def test_the_first_condition_that_explains_a_difference_takes_it() -> None:
    first, second = condition(symptoms={NOT_PROGRAMMED}), condition(CauseKind.FLUSHED)
    assert causes(difference(NOT_PROGRAMMED), difference(REFUSED), conditions=[first, second]) == [
        ("BASE_JUMP", 1),
        ("FLUSHED", 1),
    ]


@pytest.mark.parametrize(
    ("given", "explains"),
    [
        (condition(kinds={FrontendKind.NODE_PORT}), False),
        (condition(kinds={FrontendKind.CLUSTER_IP}), True),
        (condition(within="10.244.0.0/16"), True),
        (condition(within="10.244.1.0/25"), False),
    ],
)
def test_kinds_and_clients_limit_what_a_condition_explains(given: Condition, explains: bool) -> None:
    assert causes(difference(NOT_PROGRAMMED), conditions=[given])[0] == ("BASE_JUMP", 1 if explains else 0)


def test_a_condition_of_one_family_leaves_the_other_alone() -> None:
    six = difference(NOT_PROGRAMMED, at=frontend("fd00::50"))
    assert causes(six, conditions=[condition()]) == [("BASE_JUMP", 0), ("MISSING_FRONTEND", 1)]
    two = condition(CauseKind.TWO_BACKENDS)
    assert causes(six, difference(REFUSED), conditions=[two]) == [("TWO_BACKENDS", 1), ("MISSING_FRONTEND", 1)]


def test_two_backends_explain_everything_even_what_a_foreign_rule_decides() -> None:
    decided = difference(NOT_PROGRAMMED, decided_by=ref())
    assert causes(decided, difference(REFUSED), conditions=[condition(CauseKind.TWO_BACKENDS)]) == [("TWO_BACKENDS", 2)]


def test_other_conditions_leave_to_a_foreign_rule_what_it_decides() -> None:
    assert causes(difference(NOT_PROGRAMMED, decided_by=ref()), conditions=[condition()]) == [
        ("BASE_JUMP", 0),
        ("FOREIGN_RULE", 1),
    ]


FORWARD = condition(symptoms={REFUSED}, expected="filter FORWARD: -j KUBE-FORWARD")
POLICY = ref(":FORWARD DROP", foreign=False, action="policy DROP")


def test_the_missing_jump_to_kube_forward_explains_what_the_policy_drops() -> None:
    assert causes(difference(REFUSED, decided_by=POLICY), conditions=[FORWARD]) == [("BASE_JUMP", 1)]
    assert causes(difference(REFUSED, decided_by=ref()), conditions=[FORWARD]) == [
        ("BASE_JUMP", 0),
        ("FOREIGN_RULE", 1),
    ]


# -- deciding rules ----------------------------------------------------------------------------------------------------


def test_what_one_foreign_rule_decides_is_one_group() -> None:
    found = groups(
        difference(NOT_PROGRAMMED, service="a", decided_by=ref(line=9)),
        difference(REFUSED, service="b", decided_by=ref(line=9), actual="dropped"),
        difference(NOT_PROGRAMMED, service="c", decided_by=ref(line=5)),
    )
    assert [(item.cause, item.rules[0].line, len(item.differences)) for item in found] == [
        (CauseKind.FOREIGN_RULE, 5, 1),
        (CauseKind.FOREIGN_RULE, 9, 2),
    ]
    assert found[1].actual == "not translated | dropped"
    assert "decides before kube-proxy's: DROP" in found[0].detail


def test_a_rule_met_at_two_hooks_is_one_fault_and_in_two_families_two() -> None:
    output = ref()
    forward = ref()
    six = difference(REFUSED, at=frontend("fd00::50"), decided_by=output)
    assert causes(difference(REFUSED, decided_by=output), difference(REFUSED, decided_by=forward), six) == [
        ("FOREIGN_RULE", 2),
        ("FOREIGN_RULE", 1),
    ]


def test_policies_and_rules_of_kube_proxys_chains_have_words_of_their_own() -> None:
    (policy,) = groups(difference(REFUSED, decided_by=POLICY))
    assert policy.cause is CauseKind.FORWARD_POLICY
    assert policy.detail.startswith("the DROP policy of chain FORWARD")
    (firewall,) = groups(difference(REFUSED, decided_by=ref("-A KUBE-FIREWALL -j DROP", foreign=False)))
    assert "chain KUBE-FIREWALL of table filter takes translated packets: DROP" in firewall.detail


# -- ageing and single Services ----------------------------------------------------------------------------------------


def test_one_service_out_of_date_is_told_by_itself_and_two_are_a_node_that_lags() -> None:
    one = difference(Symptom.STALE_ENDPOINT, service="a")
    assert causes(one) == [("STALE_ENDPOINT", 1)]
    assert causes(one, difference(NOT_PROGRAMMED, service="b"), difference(NOT_REFUSED, service="c")) == [
        ("STALE_NODE", 3)
    ]
    (found,) = groups(one, difference(Symptom.NO_SUCH_SERVICE, service=None, at=frontend("10.96.3.3")))
    assert found.cause is CauseKind.STALE_NODE
    assert found.actual == "2 Services out of date"


def test_families_age_by_themselves() -> None:
    six = difference(Symptom.STALE_ENDPOINT, service="b", at=frontend("fd00::50"))
    assert causes(difference(Symptom.STALE_ENDPOINT, service="a"), six) == [
        ("STALE_ENDPOINT", 1),
        ("STALE_ENDPOINT", 1),
    ]


@pytest.mark.parametrize(
    ("symptom", "cause"),
    [
        (Symptom.WRONG_PORT, "WRONG_PORT"),
        (Symptom.UNBALANCED, "UNBALANCED"),
        (Symptom.MASQUERADE_MISSING, "MASQUERADE_MISSING"),
        (Symptom.MASQUERADE_NEEDLESS, "MASQUERADE_NEEDLESS"),
        (Symptom.AFFINITY, "AFFINITY"),
    ],
)
def test_what_no_age_brings_about_stays_with_its_services(symptom: Symptom, cause: str) -> None:
    assert causes(difference(symptom, service="a"), difference(symptom, service="b")) == [(cause, 1), (cause, 1)]


def test_a_chain_that_leads_nowhere_is_no_age() -> None:
    broken = [difference(NOT_PROGRAMMED, service=name, in_service_chain=True) for name in "ab"]
    assert causes(*broken) == [("BROKEN_CHAIN", 1), ("BROKEN_CHAIN", 1)]


LB = frontend("192.168.56.241", kind=FrontendKind.LOAD_BALANCER_IP)


@pytest.mark.parametrize(
    ("symptom", "expected", "actual", "cause"),
    [
        (Symptom.STALE_ENDPOINT, "dropped", "DNAT to 10.244.1.1:80", "SOURCE_RANGES"),
        (NOT_REFUSED, "dropped", "not translated", "SOURCE_RANGES"),
        (REFUSED, "DNAT to 10.244.1.1:80", "dropped", "SOURCE_RANGES"),
        (REFUSED, "DNAT to 10.244.1.1:80", "rejected", "REFUSED"),
        (Symptom.STALE_ENDPOINT, "rejected", "DNAT to 10.244.1.1:80", "STALE_ENDPOINT"),
        (NOT_REFUSED, "rejected", "not translated", "NOT_REFUSED"),
    ],
)
def test_source_ranges_are_told_from_endpoints(symptom: Symptom, expected: str, actual: str, cause: str) -> None:
    assert causes(difference(symptom, at=LB, expected=expected, actual=actual)) == [(cause, 1)]
    assert SOURCE not in [name for name, _ in causes(difference(symptom, expected=expected, actual=actual))]


SOURCE = "SOURCE_RANGES"


def test_a_replaced_endpoint_is_one_fault() -> None:
    both = [difference(Symptom.MISSING_ENDPOINT), difference(Symptom.STALE_ENDPOINT)]
    assert causes(*both) == [("STALE_ENDPOINT", 2)]
    assert causes(both[0]) == [("MISSING_ENDPOINT", 1)]


def test_groups_and_differences_are_in_order_and_words_are_cut() -> None:
    items = [
        difference(Symptom.WRONG_PORT, service=name, at=frontend(address, port, position=position), actual=actual)
        for name, address, port, position, actual in (
            ("b", "10.96.0.9", 80, Position.POD, "one"),
            ("b", "10.96.0.10", 80, Position.NODE, "two"),
            ("b", "10.96.0.10", 79, Position.POD, "three"),
            ("b", "10.96.0.10", 79, Position.EXTERNAL, "four"),
            ("a", "10.96.0.11", 80, Position.POD, "one"),
        )
    ]
    found = groups(*items)
    assert [str(item.differences[0].service_port) for item in found] == ["default/a", "default/b"]
    assert [(item.frontend.label, str(item.frontend.position)) for item in found[1].differences] == [
        ("10.96.0.9:80/TCP", "pod"),
        ("10.96.0.10:79/TCP", "external"),
        ("10.96.0.10:79/TCP", "pod"),
        ("10.96.0.10:80/TCP", "node"),
    ]
    assert found[1].actual == "one | two | three"


def test_rules_of_a_group_are_named_once() -> None:
    (found,) = groups(
        difference(Symptom.WRONG_PORT, rules=(ref(line=4), ref(line=2))),
        difference(Symptom.WRONG_PORT, rules=(ref(line=2),), to=clients("10.244.9.0/24")),
    )
    assert [rule.line for rule in found.rules] == [4, 2]
