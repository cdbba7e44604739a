from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from msgspec.structs import replace

from kdiag.errors import KdiagError
from kdiag.model.baseline import Baseline, BaselineEntry, BaselineKey
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Gap, GapKind, Report
from kdiag.pipeline import Scope
from kdiag.pipeline.baseline import apply_baseline, read_baseline
from tests.render.samples import HEALTHY, REPORT, STALE

TODAY = date(2026, 11, 23)
WHOLE = replace(REPORT, gaps=())
KEY = BaselineKey(
    code="KD204",
    node="node02",
    service="default/local-cluster",
    port="80/TCP",
    frontend="10.101.67.139:80/TCP",
)


def entry(key: BaselineKey, expires: date = date(2027, 1, 31)) -> BaselineEntry:
    return BaselineEntry(key=key, reason="why", owner="who", expires=expires, line=3)


def held(*entries: BaselineEntry, report: Report = WHOLE, scope: Scope | None = None) -> Report:
    baseline = Baseline(path="b.toml", entries=entries)
    return apply_baseline(report, baseline, scope or Scope(), today=TODAY)


def test_an_accepted_finding_is_shown_and_does_not_count() -> None:
    report = held(entry(KEY))
    assert [finding.code for finding in report.accepted] == ["KD204"]
    assert [finding.code for finding in report.counting] == ["KD207", "KD202"]
    assert len(report.findings) == 3
    assert report.findings[0] == replace(STALE, acceptance=report.findings[0].acceptance)
    assert report.baseline is not None
    assert (report.baseline.path, report.baseline.unneeded) == ("b.toml", ())


@pytest.mark.parametrize(
    ("expires", "accepted"),
    [(date(2026, 11, 22), False), (date(2026, 11, 23), True), (date(2026, 11, 24), True)],
)
def test_it_holds_through_its_last_day(expires: date, accepted: bool) -> None:
    finding = held(entry(KEY, expires)).findings[0]
    assert finding.accepted is accepted
    assert finding.acceptance is not None
    assert finding.acceptance.expired is not accepted


@pytest.mark.parametrize(
    "key",
    [
        replace(KEY, code="KD205"),
        replace(KEY, node="node01"),
        replace(KEY, node=None),
        replace(KEY, service="default/other"),
        replace(KEY, service=None),
        replace(KEY, port="81/TCP"),
        replace(KEY, frontend=None),
        replace(KEY, frontend="*"),
        replace(KEY, service="*"),
    ],
)
def test_another_place_is_another_finding(key: BaselineKey) -> None:
    assert held(entry(key)).accepted == ()


def test_any_node() -> None:
    assert len(held(entry(replace(KEY, node="*"))).accepted) == 1
    nowhere = replace(WHOLE, findings=(replace(STALE, node=None),))
    assert len(held(entry(replace(KEY, node="*")), report=nowhere).accepted) == 1


def test_the_entry_that_holds_longest_counts() -> None:
    old, new = entry(KEY, date(2020, 1, 1)), entry(replace(KEY, node="*"))
    assert held(old, new).findings[0].accepted
    assert held(new, old).findings[0].accepted


def unneeded(key: BaselineKey, *, scope: Scope | None = None, gaps: tuple[Gap, ...] = ()) -> bool:
    report = held(entry(key), report=replace(HEALTHY, gaps=gaps), scope=scope)
    assert report.baseline is not None
    return bool(report.baseline.unneeded)


def test_what_nothing_answers_to_is_said() -> None:
    assert unneeded(KEY)
    assert unneeded(replace(KEY, node="*"))
    assert unneeded(BaselineKey(code="KD101"))


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        (Scope(select=("KD2",)), True),
        (Scope(select=("KD3",)), False),
        (Scope(ignore=("KD204",)), False),
        (Scope(nodes=("node02",)), True),
        (Scope(nodes=("node01",)), False),
        (Scope(without_nodes=True), False),
        (Scope(namespace="default"), True),
        (Scope(namespace="shop"), False),
        (Scope(services=(ObjectKey(namespace="default", name="local-cluster"),)), True),
        (Scope(services=(ObjectKey(namespace="default", name="other"),)), False),
    ],
)
def test_not_of_what_was_not_looked_at(scope: Scope, said: bool) -> None:
    assert unneeded(KEY, scope=scope) is said


@pytest.mark.parametrize(
    ("key", "scope"),
    [
        (BaselineKey(code="KD101"), Scope(namespace="default")),
        (BaselineKey(code="KD101"), Scope(services=(ObjectKey(namespace="a", name="b"),))),
        (replace(KEY, node="*"), Scope(nodes=("node02",))),
        (replace(KEY, node=None), Scope(without_nodes=True)),
    ],
)
def test_nor_of_what_was_looked_at_in_part(key: BaselineKey, scope: Scope) -> None:
    assert not unneeded(key, scope=scope)


@pytest.mark.parametrize(
    ("gap", "said", "said_of_all"),
    [
        (Gap(node="node02", subject="x", reason="y"), False, False),
        (Gap(node="node01", subject="x", reason="y"), True, False),
        (Gap(subject="x", reason="y"), False, False),
        (Gap(subject="x", reason="y", kind=GapKind.NOT_APPLICABLE), True, True),
    ],
)
def test_nor_of_what_could_not_be_seen(gap: Gap, said: bool, said_of_all: bool) -> None:
    assert unneeded(KEY, gaps=(gap,)) is said
    assert unneeded(replace(KEY, node="*"), gaps=(gap,)) is said_of_all
    assert unneeded(replace(KEY, node=None), gaps=(gap,)) is said_of_all


def test_codes_are_those_of_the_checks(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text('[[accepted]]\ncode = "KD101"\nreason = "r"\nowner = "o"\nexpires = 2027-01-31\n')
    assert read_baseline(path).entries[0].key.code == "KD101"
    path.write_text('[[accepted]]\ncode = "KD999"\nreason = "r"\nowner = "o"\nexpires = 2027-01-31\n')
    with pytest.raises(KdiagError) as caught:
        read_baseline(path)
    assert caught.value.message == f"{path}:2: there is no check 'KD999'"
    with pytest.raises(KdiagError):
        read_baseline(tmp_path / "none")
