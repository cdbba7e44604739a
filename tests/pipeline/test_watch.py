"""The same look again and again, on a clock of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from kdiag.errors import ClusterError
from kdiag.model.report import Report
from kdiag.pipeline.watch import Look, watch_looks
from kdiag.render.style import Style
from kdiag.render.watch import change_lines, failure_line, summary_text
from tests.render.samples import REPORT

START = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


class Clock:
    """Stands still but for waits, and for what a look takes."""

    def __init__(self) -> None:
        self.at = START
        self.waits: list[float] = []

    def now(self) -> datetime:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += timedelta(seconds=seconds)


def watched(answers: list[Report | ClusterError], clock: Clock, *, takes_s: float = 10) -> list[Look]:
    left = iter(answers)

    def look() -> Report:
        clock.at += timedelta(seconds=takes_s)
        answer = next(left)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    looks = watch_looks(look, interval_s=60, count=len(answers), now=clock.now, wait=clock.wait)
    return list(looks)


def test_only_changes_are_told() -> None:
    clock = Clock()
    fewer = replace(REPORT, findings=REPORT.findings[1:])
    first, same, less = watched([REPORT, REPORT, fewer], clock)
    assert clock.waits == [50, 50]
    assert [item.at for item in (first, same, less)] == [START + timedelta(seconds=60 * index) for index in range(3)]
    assert first.change is not None
    assert first.change.new == REPORT.findings
    assert same.change is not None
    assert (same.change.new, same.change.gone, same.change.new_gaps) == ((), (), ())
    assert less.change is not None
    assert less.change.gone == REPORT.findings[:1]
    lines = list(change_lines(less.change, less.at, Style()))
    assert len(lines) == 1
    assert lines[0].startswith(f"2026-11-23 12:02:00Z - ERROR {REPORT.findings[0].code}")


def test_a_run_that_fails_is_told_and_compared_over() -> None:
    clock = Clock()
    looks = watched([REPORT, ClusterError("no answer"), REPORT], clock, takes_s=90)
    assert clock.waits == [0, 0]
    assert (looks[1].change, looks[1].failure) == (None, "no answer")
    assert looks[2].change is not None
    assert looks[2].change.new == ()
    assert failure_line("no\x1b answer", START) == "2026-11-23 12:00:00Z ! the run failed: no\\x1b answer"
    assert summary_text(3, 1, 2, 0, None, START) == "2026-11-23 12:00:00Z 3 runs, 1 failed; findings: 2 new, 0 gone"


def test_a_first_run_that_fails_ends_it() -> None:
    with pytest.raises(ClusterError):
        watched([ClusterError("no answer"), REPORT], Clock())
