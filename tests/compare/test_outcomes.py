from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.compare.outcomes import SHARE_TOLERANCE, Fault, OutcomeComparer, describe, shares_by_backend
from kdiag.model.dataplane import Outcome
from kdiag.model.difference import Symptom
from tests.compare.builders import agree, backend, outcome


def faults(actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
    return OutcomeComparer().faults(actual, legal)


def distance(actual: Outcome, legal: Outcome) -> tuple[int, int, int]:
    return OutcomeComparer().distance(actual, legal)


def named(actual: Outcome, legal: Outcome) -> list[tuple[str, list[str]]]:
    return [(fault.symptom.name, [str(item) for item in fault.backends]) for fault in faults(actual, legal)]


# -- agreement ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "legal"),
    [
        (outcome("1"), outcome("1")),
        (outcome("1+m", "2"), outcome("1+m", "2")),
        (outcome("1=0.33333333349", "2=0.33333333326", "3=0.33333333325"), outcome("1", "2", "3")),
        (outcome("1=0.50009", "2=0.49991"), outcome("1", "2")),
        (outcome("reject"), outcome("reject")),
        (outcome("drop"), outcome("drop")),
        (outcome("pass"), outcome("pass")),
        # What was translated before it was refused does not matter.
        (outcome("drop@1"), outcome("drop")),
        # A source rewritten by a CNI is no disagreement, asked for or not.
        (outcome("1+o"), outcome("1")),
        (outcome("1+o"), outcome("1+m")),
        (outcome("1~600"), outcome("1~600")),
    ],
)
def test_outcomes_that_agree(actual: Outcome, legal: Outcome) -> None:
    assert agree(actual, legal, filter_seen=True)


@pytest.mark.parametrize(
    ("actual", "legal"),
    [
        (outcome("1"), outcome("2")),
        (outcome("1"), outcome("1:81")),
        (outcome("1", "2"), outcome("1")),
        (outcome("1"), outcome("1", "2")),
        (outcome("1=0.5002", "2=0.4998"), outcome("1", "2")),
        (outcome("1", "pass"), outcome("1")),
        (outcome("pass"), outcome("1")),
        (outcome("reject"), outcome("drop")),
        (outcome("reject"), outcome("pass")),
        (outcome("unknown"), outcome("drop")),
        (outcome("1"), outcome("1+m")),
        (outcome("1+m"), outcome("1")),
        (outcome("1"), outcome("1~600")),
        (outcome("1~60"), outcome("1~600")),
        (outcome("1~600"), outcome("1")),
    ],
)
def test_outcomes_that_do_not_agree(actual: Outcome, legal: Outcome) -> None:
    assert not agree(actual, legal, filter_seen=True)
    assert faults(actual, legal)


@pytest.mark.parametrize("ending", ["reject", "drop", "pass"])
@pytest.mark.parametrize("legal", ["reject", "drop", "pass"])
def test_without_the_filter_table_refused_dropped_and_untouched_look_alike(ending: str, legal: str) -> None:
    assert agree(outcome(ending), outcome(legal), filter_seen=False)
    assert agree(outcome(ending), outcome(legal), filter_seen=True) is (ending == legal)
    assert not agree(outcome(ending), outcome("1"), filter_seen=False)
    assert not agree(outcome("1"), outcome(legal), filter_seen=False)


# -- faults ------------------------------------------------------------------------------------------------------------

ONE, TWO, THREE = "10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80"


@pytest.mark.parametrize(
    ("actual", "legal", "expected"),
    [
        (outcome("1"), outcome("1"), []),
        (outcome("pass"), outcome("1"), [("NOT_PROGRAMMED", [ONE])]),
        (outcome("1=0.3", "pass=0.7"), outcome("1", "2"), [("NOT_PROGRAMMED", [TWO])]),
        (outcome("reject"), outcome("1"), [("REFUSED", [ONE])]),
        (outcome("drop@1"), outcome("1"), [("REFUSED", [ONE])]),
        (outcome("unknown"), outcome("1"), [("REFUSED", [ONE])]),
        (outcome("1"), outcome("1", "2"), [("MISSING_ENDPOINT", [TWO])]),
        (outcome("1", "2"), outcome("1"), [("STALE_ENDPOINT", [TWO])]),
        (outcome("2"), outcome("1"), [("STALE_ENDPOINT", [TWO]), ("MISSING_ENDPOINT", [ONE])]),
        (outcome("1:81"), outcome("1"), [("WRONG_PORT", ["10.244.1.1:81"])]),
        (
            outcome("1:81", "3"),
            outcome("1", "2"),
            [("WRONG_PORT", ["10.244.1.1:81"]), ("STALE_ENDPOINT", [THREE]), ("MISSING_ENDPOINT", [TWO])],
        ),
        (outcome("1=0.9", "2=0.1"), outcome("1", "2"), [("UNBALANCED", [ONE])]),
        (outcome("1"), outcome("1+m"), [("MASQUERADE_MISSING", [ONE])]),
        (outcome("1+m", "2"), outcome("1", "2"), [("MASQUERADE_NEEDLESS", [ONE])]),
        (outcome("1", "2+m"), outcome("1+m", "2"), [("MASQUERADE_MISSING", [ONE]), ("MASQUERADE_NEEDLESS", [TWO])]),
        (outcome("1~60"), outcome("1~600"), [("AFFINITY", [ONE])]),
        (outcome("1"), outcome("1~600"), [("AFFINITY", [ONE])]),
        (outcome("1=0.9", "2+m=0.1"), outcome("1", "2"), [("UNBALANCED", [ONE]), ("MASQUERADE_NEEDLESS", [TWO])]),
        # What ought to be refused.
        (outcome("1"), outcome("reject"), [("STALE_ENDPOINT", [ONE])]),
        (outcome("pass"), outcome("reject"), [("NOT_REFUSED", [])]),
        (outcome("drop"), outcome("reject"), [("NOT_REFUSED", [])]),
        (outcome("drop"), outcome("pass"), [("REFUSED", [])]),
        (outcome("1"), outcome("pass"), [("STALE_ENDPOINT", [ONE])]),
    ],
)
def test_each_fault_has_its_name(actual: Outcome, legal: Outcome, expected: list[tuple[str, list[str]]]) -> None:
    assert named(actual, legal) == expected


def test_a_fault_points_at_the_fates_that_show_it() -> None:
    actual = outcome("1", "2", "pass")
    assert [fault.fates for fault in faults(actual, outcome("1"))] == [(actual.shares[2][0],), (actual.shares[1][0],)]


# -- words and measures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (outcome("1"), "DNAT to 10.244.1.1:80"),
        (outcome("1", "2"), "DNAT to 10.244.1.1:80, 10.244.1.2:80"),
        (outcome("1=0.9", "2=0.1"), "DNAT to 10.244.1.1:80 (90%), 10.244.1.2:80 (10%)"),
        (outcome("1", "2", "3", "4", "5", "6"), "DNAT to " + ", ".join(f"10.244.1.{i}:80" for i in (1, 2, 3, 4)) + " and 2 more"),
        (outcome("1=0.4", "pass=0.6"), "DNAT to 10.244.1.1:80 (40%); not translated (60%)"),
        (outcome("reject"), "rejected"),
        (outcome("drop@1"), "dropped"),
        (outcome("pass"), "not translated"),
        (outcome("unknown"), "taken by a target that kdiag does not know"),
    ],
)  # fmt: skip
def test_outcomes_in_words(item: Outcome, expected: str) -> None:
    assert describe(item) == expected


def test_the_nearest_legal_outcome_is_the_one_with_the_same_end_and_endpoints() -> None:
    actual = outcome("1", "2")
    candidates = [outcome("reject"), outcome("3"), outcome("1"), outcome("1~60", "2+m"), outcome("1", "2+m"), actual]
    assert sorted(candidates, key=lambda item: distance(actual, item)) == list(reversed(candidates))
    assert OutcomeComparer().nearest(actual, candidates) == actual
    assert OutcomeComparer().nearest(actual, candidates[:1]) == candidates[0]
    assert distance(actual, actual) == (0, 0, 0)


def test_one_comparer_says_of_many_outcomes_what_each_is_told_alone() -> None:
    """Those that differ in nothing but who is masqueraded are worked out together."""
    texts = [("1", "2"), ("1+m", "2"), ("1", "2+m"), ("1~600", "2"), ("1=0.9", "2=0.1"), ("1", "3"), ("1", "drop@2")]
    outcomes = [outcome(*item) for item in (*texts, ("reject",), ("1", "pass"))]
    together = OutcomeComparer()
    for actual in outcomes:
        assert together.describe(actual) == describe(actual)
        for legal in outcomes:
            assert together.agree(actual, legal, filter_seen=True) is agree(actual, legal, filter_seen=True)
            assert together.faults(actual, legal) == faults(actual, legal)
            assert together.distance(actual, legal) == distance(actual, legal)


def test_shares_of_one_backend_are_added() -> None:
    assert shares_by_backend(outcome("1=0.25", "1+m=0.25", "2=0.5", "pass=0")) == {
        backend("1"): 0.5,
        backend("2"): 0.5,
    }


def _distinct(texts: list[str]) -> bool:
    return len({text.partition("+")[0].partition("~")[0] for text in texts}) == len(texts)


BACKENDS = ["1", "1:81", "2", "2+m", "3", "1~600", "4+m~600"]
ENDS = ["reject", "drop", "pass"]
# A legal outcome sends everything to backends, each in one way, or nothing.
legal_outcomes = st.one_of(
    st.lists(st.sampled_from(BACKENDS), min_size=1, max_size=4, unique=True).filter(_distinct),
    st.sampled_from(ENDS).map(lambda text: [text]),
).map(lambda texts: outcome(*texts))
real_outcomes = st.lists(
    st.sampled_from([*BACKENDS, "3+o", *ENDS, "drop@2", "unknown"]), min_size=1, max_size=5, unique=True
).map(lambda texts: outcome(*texts))


@given(real_outcomes, legal_outcomes)
def test_there_is_either_agreement_or_a_fault(actual: Outcome, legal: Outcome) -> None:
    assert agree(actual, legal, filter_seen=True) is not bool(
        faults(actual, legal) if shares_by_backend(legal) else actual.dispositions != legal.dispositions
    )


@given(legal_outcomes)
def test_what_is_legal_agrees_with_itself(legal: Outcome) -> None:
    assert agree(legal, legal, filter_seen=True)
    assert distance(legal, legal) == (0, 0, 0)


def test_the_tolerance_is_wider_than_rounding_and_far_narrower_than_a_lost_rule() -> None:
    assert 1e-5 < SHARE_TOLERANCE < 1e-3
    assert Symptom.UNBALANCED in {fault.symptom for fault in faults(outcome("1=0.51", "2=0.49"), outcome("1", "2"))}
