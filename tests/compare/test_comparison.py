from __future__ import annotations

from kdiag.compare import compare
from kdiag.model.addresses import Family
from kdiag.model.dataplane import Behaviour, DataPlane, Outcome
from kdiag.model.difference import CauseKind, Comparison, Condition, Symptom
from tests.checks import builders as b
from tests.compare.builders import behaviour, case, key, outcome, plane, ref


def settled(earlier: Outcome | None, later: Outcome | None, actual: Outcome) -> Comparison:
    """One Service port, by two readings of the API (None: the Service was not there)."""
    then, now = (plane(f50=behaviour(item)) if item is not None else plane() for item in (earlier, later))
    return compare(now, plane(f50=behaviour(actual)), earlier=then)


def told(found: Comparison) -> list[tuple[str, list[str]]]:
    return [
        (item.symptom.name, [str(backend) for backend in item.backends])
        for group in found.groups
        for item in group.differences
    ]


def moving(found: Comparison) -> list[str]:
    return [str(port) for item in found.unclear if item.unsettled for port in item.service_ports]


# -- one reading -------------------------------------------------------------------------------------------------------


def test_frontends_are_compared_and_counted() -> None:
    expected = plane(f50=behaviour(outcome("1")), f51=behaviour(outcome("2")), f52=behaviour(outcome("3")))
    actual = plane(f50=behaviour(outcome("1")), f51=behaviour(outcome("pass")))
    found = compare(expected, actual, label_of={key(): "80/TCP"}.get)
    assert (found.node, found.judged, told(found), found.unclear) == (
        "node01",
        2,
        [("NOT_PROGRAMMED", ["10.244.1.2:80"])],
        (),
    )
    assert found.groups[0].differences[0].port_label == "80/TCP"


def test_what_no_service_has_is_judged_too() -> None:
    found = compare(plane(), plane(f99=behaviour(outcome("1"), of=key("gone"))))
    assert (found.judged, told(found)) == (1, [("NO_SUCH_SERVICE", ["10.244.1.1:80"])])
    assert compare(plane(), plane(f99=behaviour(outcome("pass")))).groups == ()


def test_conditions_reach_the_groups() -> None:
    flushed = Condition(cause=CauseKind.FLUSHED, family=Family.IPV4, detail="empty")
    assert [item.cause for item in compare(plane(), plane(), conditions=[flushed]).groups] == [CauseKind.FLUSHED]


def test_without_the_filter_table_a_lost_packet_is_just_lost() -> None:
    expected, actual = plane(f50=behaviour(outcome("reject"))), plane(f50=behaviour(outcome("pass")))
    assert told(compare(expected, actual)) == [("NOT_REFUSED", [])]
    assert compare(expected, actual, filter_seen=False).groups == ()


def test_undecided_ports_are_gathered_by_the_rules_they_hang_on() -> None:
    one, two = ref(line=1), ref(line=2)
    either = (outcome("1"), outcome("drop@1"))
    expected = plane(f50=behaviour(outcome("1")), f51=behaviour(outcome("1"), of=key("b")), f52=behaviour(outcome("1")))
    actual = plane(
        f50=behaviour(case(*either, unclear=(two,))),
        f51=behaviour(case(*either, unclear=(two,))),
        f52=behaviour(case(*either, unclear=(one, two))),
    )
    found = compare(expected, actual)
    assert [
        ([rule.line for rule in item.rules], [str(port) for port in item.service_ports]) for item in found.unclear
    ] == [
        ([1, 2], ["default/web"]),
        ([2], ["default/b", "default/web"]),
    ]
    assert not any(item.unsettled for item in found.unclear)


def test_an_undecided_address_of_no_service_is_left_alone() -> None:
    either = case(outcome("1"), outcome("drop@1"))
    assert compare(plane(), plane(f50=behaviour(either))).groups == ()


# -- two readings: missing is what both have, stale what neither has ---------------------------------------------------


def test_what_both_readings_ask_for_is_missing() -> None:
    found = settled(outcome("1", "2"), outcome("2", "3"), outcome("3"))
    assert told(found) == [("MISSING_ENDPOINT", ["10.244.1.2:80"])]
    assert moving(found) == []


def test_what_only_one_reading_asks_for_is_not_missing() -> None:
    found = settled(outcome("1"), outcome("1", "2"), outcome("1"))
    assert (told(found), moving(found)) == ([], ["default/web"])


def test_what_neither_reading_has_is_stale() -> None:
    found = settled(outcome("1", "2"), outcome("1"), outcome("1", "2", "9"))
    assert told(found) == [("STALE_ENDPOINT", ["10.244.1.9:80"])]


def test_what_one_reading_has_is_not_stale() -> None:
    found = settled(outcome("1", "2"), outcome("1"), outcome("1", "2"))
    assert (told(found), moving(found)) == ([], ["default/web"])


def test_a_state_between_the_readings_is_unsettled() -> None:
    found = settled(outcome("1"), outcome("1", "2", "3"), outcome("1", "2"))
    assert (told(found), moving(found)) == ([], ["default/web"])


def test_the_same_expectation_twice_is_one_reading() -> None:
    found = settled(outcome("1"), outcome("1"), outcome("pass"))
    assert (told(found), moving(found)) == ([("NOT_PROGRAMMED", ["10.244.1.1:80"])], [])


def test_a_fault_that_has_nothing_to_do_with_endpoints_is_a_fault_in_both_readings() -> None:
    found = settled(outcome("1+m"), outcome("1+m", "2+m"), outcome("1", "2"))
    assert told(found) == [("MASQUERADE_MISSING", ["10.244.1.1:80"])]
    found = settled(outcome("reject"), outcome("drop"), outcome("pass"))
    assert told(found) == [("NOT_REFUSED", [])]


def test_a_service_that_came_or_went_meanwhile_is_unsettled() -> None:
    came = settled(None, outcome("1"), outcome("pass"))
    assert (told(came), moving(came)) == ([], ["default/web"])
    went = settled(outcome("1"), None, outcome("1"))
    assert (told(went), moving(went)) == ([], ["default/web"])
    assert told(settled(None, outcome("1"), outcome("1"))) == []


def test_a_left_over_without_a_name_went_meanwhile_in_silence() -> None:
    named = plane(f50=behaviour(outcome("1")))
    nameless = DataPlane(
        node="node01", behaviours={at: Behaviour(cases=item.cases) for at, item in named.behaviours.items()}
    )
    found = compare(plane(), nameless, earlier=named)
    assert (found.groups, found.unclear) == ((), ())


def test_an_address_that_neither_reading_has_is_left_over() -> None:
    found = compare(plane(), plane(f50=behaviour(outcome("1"))), earlier=plane())
    assert told(found) == [("NO_SUCH_SERVICE", ["10.244.1.1:80"])]


def test_services_that_changed_too_lately_are_not_asked() -> None:
    found = compare(
        plane(f50=behaviour(outcome("1")), f51=behaviour(outcome("1"), of=key("old"))),
        plane(f50=behaviour(outcome("pass")), f51=behaviour(outcome("pass"), of=key("old"))),
        young=frozenset({b.key("web")}),
    )
    assert [str(item.service_port) for group in found.groups for item in group.differences] == ["default/old"]
    assert moving(found) == ["default/web"]
    assert found.groups[0].differences[0].symptom is Symptom.NOT_PROGRAMMED
