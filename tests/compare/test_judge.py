from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.compare.judge import Verdict, judge, judge_unexpected
from kdiag.model.dataplane import Behaviour, Case, Fate, FrontendKind, Outcome, Passed, Position
from kdiag.model.difference import Difference, Symptom
from tests.compare.builders import behaviour, case, clients, fate, frontend, outcome, ref, way


def judged(expected: Behaviour, actual: Behaviour, *, position: Position = Position.POD) -> Verdict:
    return judge("node01", frontend(position=position), expected, actual, "80/TCP", filter_seen=True)


def told(verdict: Verdict) -> list[tuple[str, str, str, str]]:
    return [(item.symptom.name, item.who, item.expected, item.actual) for item in verdict.differences]


# -- case by case ------------------------------------------------------------------------------------------------------


def test_what_agrees_is_no_difference() -> None:
    assert judged(behaviour(outcome("1", "2")), behaviour(outcome("1", "2"))) == Verdict()


def test_any_legal_outcome_will_do() -> None:
    expected = behaviour(case(outcome("reject"), outcome("pass")))
    assert judged(expected, behaviour(outcome("pass"))) == Verdict()


def test_a_difference_says_who_meets_what_instead_of_what() -> None:
    verdict = judged(behaviour(outcome("1")), behaviour(outcome("pass")))
    assert told(verdict) == [("NOT_PROGRAMMED", "all pods on the node", "DNAT to 10.244.1.1:80", "not translated")]
    (item,) = verdict.differences
    assert (item.node, item.port_label, str(item.service_port)) == ("node01", "80/TCP", "default/web")
    assert item.actual_outcome == outcome("pass")


def test_the_nearest_legal_outcome_explains_the_difference() -> None:
    expected = behaviour(case(outcome("reject"), outcome("1", "2")))
    assert told(judged(expected, behaviour(outcome("1")))) == [
        ("MISSING_ENDPOINT", "all pods on the node", "DNAT to 10.244.1.1:80, 10.244.1.2:80", "DNAT to 10.244.1.1:80")
    ]


def test_only_clients_of_both_cases_are_judged_against_each_other() -> None:
    expected = behaviour(
        case(outcome("1"), to=clients("10.244.1.0/25")), case(outcome("1+m"), to=clients("10.244.1.128/25"))
    )
    actual = behaviour(case(outcome("1"), to=clients("10.244.1.0/24")))
    assert told(judged(expected, actual)) == [
        (
            "MASQUERADE_MISSING",
            "pods with the address 10.244.1.128/25",
            "source address masqueraded",
            "source address kept",
        )
    ]


@pytest.mark.parametrize(
    ("actual", "legal", "expected", "really"),
    [
        ("1+m", "1", "source address kept", "source address masqueraded"),
        ("1~60", "1~600", "ClientIP affinity for 600 s", "ClientIP affinity for 60 s"),
        ("1", "1~600", "ClientIP affinity for 600 s", "no session affinity"),
    ],
)
def test_masquerade_and_affinity_have_words_of_their_own(actual: str, legal: str, expected: str, really: str) -> None:
    ((_, _, wanted, found),) = told(judged(behaviour(outcome(legal)), behaviour(outcome(actual))))
    assert (wanted, found) == (expected, really)


def test_affinity_that_some_endpoints_lack_is_told_with_their_number() -> None:
    ((_, _, wanted, found),) = told(judged(behaviour(outcome("1~600", "2~600")), behaviour(outcome("1~600", "2"))))
    assert (wanted, found) == ("ClientIP affinity for 600 s", "no session affinity at 1 of 2 endpoints")


@pytest.mark.parametrize(
    ("position", "bad", "who"),
    [
        (Position.POD, ("10.244.1.0/24",), "all pods on the node"),
        (Position.NODE, ("10.244.1.0/24",), "the node itself"),
        (Position.EXTERNAL, ("10.244.1.0/24",), "all clients outside the node"),
        (Position.POD, ("10.244.1.77/32",), "pods with the address 10.244.1.77"),
        (Position.NODE, ("10.244.1.77/32",), "the node's own packets from 10.244.1.77"),
        (Position.EXTERNAL, ("10.244.1.77/32",), "outside clients from 10.244.1.77"),
        (Position.POD, ("10.244.1.0/26", "10.244.1.128/25"), "all pods on the node but 10.244.1.64/26"),
    ],
)
def test_who_suffers_in_words(position: Position, bad: tuple[str, ...], who: str) -> None:
    broken = case(outcome("pass"), to=clients(*bad))
    rest = clients("10.244.1.0/24").addresses - broken.clients.addresses
    fine = [structs.replace(case(outcome("1")), clients=structs.replace(broken.clients, addresses=rest))]
    verdict = judged(behaviour(outcome("1")), behaviour(broken, *(fine if rest else [])), position=position)
    assert [item.who for item in verdict.differences] == [who]


def test_shares_that_no_fault_names_are_unbalanced() -> None:
    verdict = judged(behaviour(outcome("reject=0.5", "drop=0.5")), behaviour(outcome("reject=0.5", "pass=0.5")))
    assert [item.symptom for item in verdict.differences] == [Symptom.NOT_REFUSED]
    verdict = judged(behaviour(outcome("1")), behaviour(outcome("1=0.7")))
    assert [item.symptom for item in verdict.differences] == [Symptom.UNBALANCED]


# -- what cannot be told -----------------------------------------------------------------------------------------------

HANGS = ref("-A FORWARD -m set --match-set x src -j DROP")


def unclear(*outcomes: str) -> Behaviour:
    return behaviour(case(*(outcome(*item.split()) for item in outcomes), unclear=(HANGS,)))


@pytest.mark.parametrize(
    "actual",
    [
        unclear("1", "drop@1"),
        unclear("drop@1", "1"),
        unclear("unknown", "drop@1"),
        unclear("unknown"),
        unclear("1 unknown", "drop@1"),
    ],
)
def test_a_verdict_that_hangs_on_an_unknown_rule_is_undecided(actual: Behaviour) -> None:
    verdict = judged(behaviour(outcome("1")), actual)
    assert (verdict.differences, verdict.unclear, verdict.undecided) == ((), (HANGS,), True)


@pytest.mark.parametrize("actual", [unclear("pass", "drop@1"), unclear("2 unknown", "drop@1")])
def test_what_is_wrong_whichever_way_the_unknown_rule_goes_is_a_difference(actual: Behaviour) -> None:
    verdict = judged(behaviour(outcome("1")), actual)
    assert verdict.differences
    assert not verdict.undecided


def test_what_is_right_whichever_way_is_right() -> None:
    assert judged(behaviour(outcome("1")), unclear("1", "1+o")) == Verdict()


# -- evidence ----------------------------------------------------------------------------------------------------------

RULES = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:OTHER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
-A PREROUTING -j ACCEPT
-A PREROUTING -j RETURN
-A PREROUTING -j DNAT --to-destination 10.9.9.9
-A PREROUTING -j OTHER
-A PREROUTING -j KUBE-SERVICES
-A POSTROUTING -j ACCEPT
-A POSTROUTING -j MARK --set-xmark 0x0/0x4000
-A OTHER -j RETURN
-A KUBE-SERVICES -d 10.96.0.50/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-MARK-MASQ
-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.244.1.1:80
COMMIT
*filter
:FORWARD DROP [0:0]
:KUBE-FIREWALL - [0:0]
-A FORWARD -j DROP
-A FORWARD -j ACCEPT
-A KUBE-FIREWALL -j DROP
COMMIT
"""
TO_SERVICES = ("PREROUTING", "-A PREROUTING -j KUBE-SERVICES", "jump KUBE-SERVICES", False)
TO_SVC = (
    "PREROUTING",
    "-A KUBE-SERVICES -d 10.96.0.50/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA",
    "jump KUBE-SVC-AAAAAAAAAAAAAAAA",
    False,
)
TO_MARK = ("PREROUTING", "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-MARK-MASQ", "jump KUBE-MARK-MASQ", False)
TO_SEP = (
    "PREROUTING",
    "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA",
    "jump KUBE-SEP-AAAAAAAAAAAAAAAA",
    False,
)
DNAT = (
    "PREROUTING",
    "-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.244.1.1:80",
    "DNAT to 10.244.1.1:80",
    False,
)
ACCEPTED = ("PREROUTING", "-A PREROUTING -j ACCEPT", "ACCEPT", True)
RETURNED = ("PREROUTING", "-A PREROUTING -j RETURN", "RETURN", True)
DEEPER = ("PREROUTING", "-A OTHER -j RETURN", "RETURN", True)
HIJACKED = ("PREROUTING", "-A PREROUTING -j DNAT --to-destination 10.9.9.9", "DNAT to 10.9.9.9", True)
DROPPED = ("FORWARD", "-A FORWARD -j DROP", "DROP", True)
FIREWALLED = ("OUTPUT", "-A KUBE-FIREWALL -j DROP", "DROP", False)
LET_THROUGH = ("FORWARD", "-A FORWARD -j ACCEPT", "ACCEPT", True)
POLICY = ("FORWARD", ":FORWARD", "policy DROP", True)
KEPT = ("POSTROUTING", "-A POSTROUTING -j ACCEPT", "ACCEPT", True)
UNMARKED = ("POSTROUTING", "-A POSTROUTING -j MARK --set-xmark 0x0/0x4000", "mark set-xmark 0x0/0x4000", True)
Step = tuple[str, str, str, bool]


def walked(text: str, *steps: Step) -> Case:
    paths: dict[Fate, Passed] = {fate(text): way(*steps, rules=RULES)}
    return structs.replace(case(outcome(text)), paths=paths)


@pytest.mark.parametrize(
    ("legal", "text", "steps", "symptom", "rules", "decided_by", "in_chain"),
    [
        ("1", "pass", [ACCEPTED], "NOT_PROGRAMMED", [ACCEPTED], ACCEPTED, False),
        ("1", "pass", [RETURNED], "NOT_PROGRAMMED", [RETURNED], RETURNED, False),
        ("1", "pass", [DEEPER, TO_SERVICES], "NOT_PROGRAMMED", [TO_SERVICES], None, False),
        ("1", "pass", [TO_SERVICES, TO_SVC], "NOT_PROGRAMMED", [TO_SVC], None, True),
        ("1", "3", [HIJACKED], "STALE_ENDPOINT", [HIJACKED], HIJACKED, False),
        ("2", "1", [TO_SERVICES, TO_SVC, TO_SEP, DNAT], "STALE_ENDPOINT", [DNAT], None, True),
        ("1:81", "1", [TO_SVC, TO_SEP, DNAT], "WRONG_PORT", [DNAT], None, True),
        ("1 2", "1", [TO_SVC, TO_SEP, DNAT], "MISSING_ENDPOINT", [TO_SEP], None, True),
        ("1", "drop@1", [TO_SVC, TO_SEP, DNAT, DROPPED], "REFUSED", [DROPPED], DROPPED, True),
        ("1", "drop@1", [TO_SVC, TO_SEP, DNAT, POLICY], "REFUSED", [POLICY], POLICY, True),
        ("1", "drop@1", [TO_SVC, TO_SEP, DNAT, FIREWALLED], "REFUSED", [FIREWALLED], FIREWALLED, True),
        ("reject", "pass", [TO_SERVICES], "NOT_REFUSED", [TO_SERVICES], None, False),
        ("reject", "pass", [TO_SERVICES, LET_THROUGH], "NOT_REFUSED", [LET_THROUGH], LET_THROUGH, False),
        ("1", "1+m", [TO_SVC, TO_MARK, TO_SEP, DNAT], "MASQUERADE_NEEDLESS", [TO_MARK], None, True),
        ("1+m", "1", [TO_SVC, TO_SEP, DNAT, KEPT], "MASQUERADE_MISSING", [DNAT], KEPT, True),
        ("1+m", "1", [TO_SVC, TO_SEP, DNAT, UNMARKED], "MASQUERADE_MISSING", [DNAT], UNMARKED, True),
        ("1~600", "1", [TO_SVC, TO_SEP, DNAT], "AFFINITY", [DNAT], None, True),
    ],
)
def test_the_rule_that_tells_and_the_one_that_decides(
    legal: str, text: str, steps: list[Step], symptom: str, rules: list[Step], decided_by: Step | None, in_chain: bool
) -> None:
    (item, *_) = judged(behaviour(outcome(*legal.split())), behaviour(walked(text, *steps))).differences
    assert item.symptom.name == symptom
    assert [rule.action for rule in item.rules] == [step[2] for step in rules]
    assert (item.decided_by.action if item.decided_by else None) == (decided_by[2] if decided_by else None)
    assert item.in_service_chain is in_chain


def test_a_policy_is_shown_by_the_line_that_declares_it() -> None:
    (item,) = judged(behaviour(outcome("1")), behaviour(walked("drop@1", DNAT, POLICY))).differences
    assert [(rule.text, rule.line) for rule in item.rules] == [
        (":FORWARD DROP", RULES.splitlines().index(":FORWARD DROP [0:0]") + 1)
    ]


def test_without_a_recorded_way_there_is_no_rule_to_show() -> None:
    (item,) = judged(behaviour(outcome("1")), behaviour(outcome("2"))).differences[:1]
    assert (item.rules, item.decided_by, item.in_service_chain) == ((), None, False)


# -- merging -----------------------------------------------------------------------------------------------------------


LOWER, UPPER = "10.244.1.0/25", "10.244.1.128/25"


def apart(first: Case, second: Case, legal: Outcome) -> tuple[Difference, ...]:
    """The differences of two cases for both of which the same is legal."""
    expected = behaviour(case(legal, to=first.clients), case(legal, to=second.clients))
    return judged(expected, behaviour(first, second)).differences


def test_the_same_difference_of_several_clients_is_one() -> None:
    one = case(outcome("pass"), to=clients(LOWER, interfaces=("a",)))
    (both,) = apart(one, case(outcome("pass"), to=clients(UPPER, interfaces=("b",))), outcome("1"))
    assert both.clients == clients("10.244.1.0/24", interfaces=("a", "b"))
    assert both.who == "all pods on the node"
    (open_ended,) = apart(one, case(outcome("pass"), to=clients(UPPER)), outcome("1"))
    assert open_ended.clients == clients("10.244.1.0/24")


def test_who_is_masqueraded_does_not_part_what_is_said_of_backends() -> None:
    one, two = case(outcome("1+m", "2"), to=clients(LOWER)), case(outcome("1", "2+m"), to=clients(UPPER))
    expected = behaviour(case(outcome("1+m"), to=clients(LOWER)), case(outcome("1"), to=clients(UPPER)))
    (both,) = judged(expected, behaviour(one, two)).differences
    assert (both.symptom, both.clients) == (Symptom.STALE_ENDPOINT, clients("10.244.1.0/24"))


@pytest.mark.parametrize("other", [outcome("reject"), outcome("2"), outcome("1~600")])
def test_differences_that_say_other_things_stay_apart(other: Outcome) -> None:
    found = apart(case(outcome("pass"), to=clients(LOWER)), case(other, to=clients(UPPER)), outcome("1"))
    assert [item.clients for item in found if item.symptom is Symptom.NOT_PROGRAMMED] == [clients(LOWER)]
    assert {item.clients for item in found if item.symptom is not Symptom.NOT_PROGRAMMED} == {clients(UPPER)}


def test_differences_that_other_rules_show_stay_apart() -> None:
    lower, upper = walked("drop@1", DNAT, DROPPED), walked("drop@1", DNAT, POLICY)
    first, second = (structs.replace(part, clients=clients(where)) for part, where in ((lower, LOWER), (upper, UPPER)))
    assert [item.clients for item in apart(first, second, outcome("1"))] == [clients(LOWER), clients(UPPER)]


# -- addresses of no Service -------------------------------------------------------------------------------------------


def test_an_address_of_no_service_is_told_by_the_rules_that_lead_to_it() -> None:
    node_port = frontend("192.168.56.11", 30080, kind=FrontendKind.NODE_PORT)
    (item,) = judge_unexpected("node01", node_port, behaviour(walked("1", TO_SERVICES, TO_SVC, TO_SEP, DNAT)))
    assert (item.symptom, item.expected, item.actual) == (
        Symptom.NO_SUCH_SERVICE,
        "no Service has this address",
        "DNAT to 10.244.1.1:80",
    )
    assert [rule.action for rule in item.rules] == ["jump KUBE-SVC-AAAAAAAAAAAAAAAA"]
    assert (item.port_label, item.who) == ("30080/TCP", "all pods on the node")


@pytest.mark.parametrize(("text", "served"), [("reject", True), ("drop", True), ("pass", False), ("unknown", False)])
def test_refused_addresses_are_served_and_untouched_ones_are_not(text: str, served: bool) -> None:
    assert bool(judge_unexpected("node01", frontend(), behaviour(outcome(text)))) is served


def test_what_cannot_be_told_of_an_unknown_address_is_left_alone() -> None:
    assert judge_unexpected("node01", frontend(), behaviour(case(outcome("1"), outcome("pass")))) == ()
