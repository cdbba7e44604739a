from __future__ import annotations

from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from kdiag.model.report import Report, Severity
from kdiag.render.junit import JUNIT
from kdiag.render.style import Style
from tests.render.hostile import ACCEPTED, EVIL, POISONED
from tests.render.samples import HEALTHY, REPORT, STALE


def suite(report: Report) -> ElementTree.Element:
    text = JUNIT.report(report, Style(colour=True))
    assert text.isascii()
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    (only,) = root
    for element in (root, only):
        cases = only.findall("testcase")
        counted = {
            tag: sum(1 for case in cases if case.find(tag) is not None) for tag in ("failure", "error", "skipped")
        }
        assert element.attrib["tests"] == str(len(cases))
        assert element.attrib["failures"] == str(counted["failure"])
        assert element.attrib["errors"] == str(counted["error"])
        assert element.attrib["skipped"] == str(counted["skipped"])
    return only


def outcomes(report: Report) -> list[tuple[str, str]]:
    """Class and outcome of every test."""
    out = []
    for case in suite(report).findall("testcase"):
        tags = [child.tag for child in case if child.tag != "system-out"]
        assert len(tags) <= 1
        out.append((case.attrib["classname"], tags[0] if tags else "passed"))
    return out


def test_findings_fail_and_gaps_are_errors_or_skipped() -> None:
    assert outcomes(REPORT) == [
        ("kdiag", "passed"),
        ("kdiag.KD204.stale-endpoint", "failure"),
        ("kdiag.KD207.unbalanced", "failure"),
        ("kdiag.KD202.missing-base-jump", "failure"),
        ("kdiag.not-examined", "error"),
        ("kdiag.not-examined", "skipped"),
        ("kdiag.not-examined", "skipped"),
    ]


def test_a_failure_tells_all() -> None:
    case = suite(REPORT).findall("testcase")[1]
    assert case.attrib["name"] == ("node02 default/local-cluster 80/TCP: Traffic goes to an endpoint that is gone")
    failure = case.find("failure")
    assert failure is not None
    assert failure.attrib["type"] == "error"
    assert failure.attrib["message"] == STALE.message
    assert failure.text is not None
    for part in (
        "expected: 10.244.1.3:80",
        "actual: 10.244.1.9:80",
        "iptables-save.txt:412  -A KUBE-SEP",
        "hint: Look",
    ):
        assert part in failure.text


def test_every_node_of_a_gap_is_named() -> None:
    error = suite(REPORT).findall("testcase")[4].find("error")
    assert error is not None
    assert (error.text or "").split("\n") == [
        "node03: iptables-save: connection refused; start sshd",
        "node04: iptables-save: connection refused; start sshd",
    ]


def test_nothing_found_is_one_passed_test() -> None:
    only = suite(HEALTHY)
    assert outcomes(HEALTHY) == [("kdiag", "passed")]
    assert "timestamp" not in only.attrib
    assert suite(REPORT).attrib["timestamp"] == "2026-11-23T06:05:04"


def test_what_is_worth_knowing_does_not_fail() -> None:
    informed = replace(HEALTHY, findings=(replace(STALE, severity=Severity.INFO),))
    assert outcomes(informed)[1] == ("kdiag.KD204.stale-endpoint", "passed")
    output = suite(informed).findall("testcase")[1].find("system-out")
    assert output is not None
    assert STALE.message in (output.text or "")


def test_accepted_is_skipped_and_expired_fails_again() -> None:
    assert [outcome for _, outcome in outcomes(ACCEPTED)[1:4]] == ["skipped", "failure", "failure"]
    cases = suite(ACCEPTED).findall("testcase")
    skipped, failure, output = cases[1].find("skipped"), cases[3].find("failure"), cases[0].find("system-out")
    assert skipped is not None
    assert failure is not None
    assert output is not None
    assert skipped.attrib["message"] == "accepted by team-net until 2027-01-31: known since March"
    assert "counts again: its acceptance by team-net ended on 2026-01-31" in (failure.text or "")
    assert "no longer needed in kdiag-baseline.toml: KD301 default/old (line 7)" in (output.text or "")


def test_same_tests_get_numbers() -> None:
    names = [case.attrib["name"] for case in suite(replace(HEALTHY, findings=(STALE, STALE))).findall("testcase")[1:]]
    assert names[1] == f"{names[0]} (2)"


def test_nothing_breaks_out() -> None:
    cases = suite(POISONED).findall("testcase")
    assert len(cases) == 1 + 5 + 3
    for case in cases:
        assert {child.tag for child in case} <= {"failure", "error", "skipped", "system-out"}
        for element in (case, *case):
            assert not list(element) or element is case
            for text in (element.text or "", *element.attrib.values()):
                assert "\x1b" not in text
                assert "\u202e" not in text
    failure = cases[1].find("failure")
    assert failure is not None
    assert "]]><x y='\"'/>&amp;\\x1b[2J\\u202e\\ud800" in (failure.text or "")


@pytest.mark.parametrize("report", [REPORT, HEALTHY, POISONED, ACCEPTED])
def test_same_bytes(report: Report) -> None:
    assert JUNIT.report(report, Style()) == JUNIT.report(report, Style(width=60, colour=True, cut=True))


def test_the_evil_has_what_tests_look_for() -> None:
    assert "]]>" in EVIL
