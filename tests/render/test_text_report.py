from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from kdiag.model.baseline import BaselineUse
from kdiag.model.report import Affected, Evidence, Finding, Gap, Severity
from kdiag.render.style import Style
from kdiag.render.text_report import report_text
from tests.render.hostile import ACCEPTED, POISONED
from tests.render.samples import FLUSHED, HEALTHY, REPORT, STALE

PIPE = Style()


def only(finding: Finding) -> str:
    return report_text(replace(HEALTHY, findings=(finding,)), PIPE)


def test_healthy_report_is_short() -> None:
    assert report_text(HEALTHY, PIPE) == (
        "Cluster one-node\n\n0 errors, 0 warnings; judged 1 of 1 node, 1 Service, 1 address\n"
    )


def test_one_finding_in_full() -> None:
    assert only(STALE).split("\n\n")[1] == (
        "ERROR KD204 stale-endpoint  node02  default/local-cluster 80/TCP\n"
        "  node02 sends connections to 10.244.1.9:80, which has not been an endpoint of default/local-cluster\n"
        "  for 12 minutes.\n"
        "  address   10.101.67.139:80/TCP\n"
        "  expected  10.244.1.3:80\n"
        "  actual    10.244.1.9:80\n"
        "  nodes/node02/iptables-save.txt\n"
        "    412  -A KUBE-SEP-GEKJR4UBUI5ONAYW -p tcp -m comment --comment"
        ' "default/local-cluster" -m tcp -j DNAT --to-destination 10.244.1.9:80\n'
        "  cluster/endpointslices-v1.json\n"
        "  hint: Look at the log of kube-proxy on node02, then restart it."
    )


def test_findings_come_by_severity_then_code() -> None:
    text = report_text(REPORT, PIPE)
    assert re.findall(r"^[A-Z]+ KD\d+", text, re.MULTILINE) == ["ERROR KD202", "ERROR KD204", "WARNING KD207"]


def test_order_of_findings_does_not_matter() -> None:
    backwards = replace(REPORT, findings=REPORT.findings[::-1], gaps=REPORT.gaps[::-1])
    assert report_text(backwards, PIPE) == report_text(REPORT, PIPE)


def test_heading_says_what_was_examined() -> None:
    first = " ".join(report_text(REPORT, PIPE).split("\n\n")[0].split("\n"))
    assert first == (
        "Cluster three-nodes, Kubernetes v1.30.3, recorded 2026-11-23 06:05:04 UTC, "
        "kube-proxy iptables on 2 nodes and ipvs on 1 node"
    )


def test_headline_without_a_place() -> None:
    assert "\nERROR KD202 missing-base-jump\n" in only(replace(FLUSHED, node=None))


def test_affected_of_one_node_are_a_list() -> None:
    text = " ".join(only(FLUSHED).split())
    assert "affected: default/web-00, default/web-01," in text
    assert text.endswith(
        "default/web-11 and 2 more hint: Restart kube-proxy. 1 error, 0 warnings; judged 1 of 1 node, 1 Service, 1 address"
    )


def test_affected_that_the_message_names_are_not_named_twice() -> None:
    named = replace(FLUSHED, message="\n".join(f"- {item.service}: gone" for item in FLUSHED.affected))
    assert "affected" not in only(named)


def test_many_affected_are_bounded_and_say_so() -> None:
    text = only(replace(FLUSHED, node=None))
    assert "  affected: 14 places\n    NODE    SERVICE\n    node01  default/web-00\n" in text
    assert "default/web-09" in text
    assert "default/web-10" not in text
    assert "\n    and 4 more\n" in text


def test_affected_that_repeats_the_headline_is_left_out() -> None:
    assert "affected" not in only(STALE)


def test_affected_without_any_place() -> None:
    text = only(replace(STALE, affected=(Affected(),)))
    assert "  affected: 1 place\n  nodes/node02" in text


def test_much_evidence_is_bounded_and_says_so() -> None:
    text = report_text(REPORT, PIPE)
    assert "\n  nodes/node02/iptables-save.txt\n    1  -A X\n    2  -A X\n" in text
    assert "\n    8  -A X\n  and 3 more lines\n" in text


def test_evidence_stands_by_file_and_in_the_order_of_lines() -> None:
    evidence = (
        Evidence(source="b", line=101, text="third"),
        Evidence(source="a", text="of the whole file"),
        Evidence(source="b", line=9, text="second"),
        Evidence(source="b", text="first"),
        Evidence(source="c", line=7),
        Evidence(source="d"),
    )
    text = only(replace(STALE, evidence=evidence, hint=""))
    assert (
        "  b\n         first\n      9  second\n    101  third\n  a\n    of the whole file\n  c\n    7\n  d\n\n"
    ) in text


def test_of_much_evidence_the_first_is_kept_and_then_sorted() -> None:
    text = only(replace(STALE, evidence=tuple(Evidence(source="s", line=20 - n, text=f"t{n}") for n in range(12))))
    assert re.findall(r"^    (\d+)  t", text, re.MULTILINE) == [str(line) for line in range(13, 21)]


def test_what_the_message_says_word_for_word_is_not_said_again() -> None:
    message = "Instead of DNAT to 10.244.1.6:80, packets to 10.101.67.139:80/TCP get DNAT to 10.244.2.9:80."
    said = replace(STALE, message=message, expected="DNAT to 10.244.1.6:80", actual="DNAT to 10.244.2.9:80")
    for label in ("address", "expected", "actual"):
        assert f"\n  {label} " not in only(said)
    half = only(replace(said, expected="DNAT to 10.244.1.60:80"))
    assert "\n  expected  DNAT to 10.244.1.60:80\n  actual    DNAT to 10.244.2.9:80\n" in half
    assert "\n  address   10.101.67.139:80\n" in only(replace(said, frontend="10.101.67.139:80"))
    assert "\n  address   01.67.139:80/TCP\n" in only(replace(said, frontend="01.67.139:80/TCP"))
    colon = replace(said, message="It says not healthy: why?", expected="healthy", actual="not healthy")
    assert "expected" not in only(colon)


def test_title_stands_in_for_a_message() -> None:
    assert "\n  Endpoints do not get equal shares\n" in report_text(REPORT, PIPE)


def test_shared_hint_is_printed_once_after_the_last() -> None:
    second = replace(STALE, node="node03")
    other = replace(STALE, node="node04", hint="Something else.")
    text = report_text(replace(HEALTHY, findings=(STALE, second, other)), PIPE)
    assert text.count("hint: Look at the log") == 1
    assert text.index("node03") < text.index("hint: Look at the log") < text.index("node04")
    assert text.count("hint: Something else.") == 1


def test_gaps_are_grouped_and_nodes_with_the_same_trouble_share_a_line() -> None:
    text = report_text(REPORT, PIPE)
    assert (
        "Not examined, although wanted\n"
        "  iptables-save on node03, node04: connection refused; start sshd\n\n"
        "Not examined, because there is nothing to see\n"
        "  kube-scheduler: the control plane is managed\n\n"
        "Not examined, as asked\n"
        "  nodes: --no-nodes\n"
    ) in text


def test_many_nodes_with_the_same_gap() -> None:
    gaps = tuple(Gap(node=f"node{number:03}", subject="ssh", reason="refused") for number in range(500))
    text = report_text(replace(HEALTHY, gaps=(*gaps, gaps[0])), PIPE)
    assert "  ssh on node000, node001, node002, node003, node004 and 495 more: refused\n" in text


def test_summary_is_the_last_line_and_only_one() -> None:
    lines = report_text(REPORT, PIPE).splitlines()
    assert lines[-1] == ("2 errors, 1 warning; judged 2 of 3 nodes, 14 Services, 41 addresses; 2 parts not examined")
    assert sum("judged" in line for line in lines) == 1


def test_infos_are_counted_when_there_are_any() -> None:
    assert "0 errors, 0 warnings, 1 info; judged" in only(replace(STALE, severity=Severity.INFO))


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_terminal_gets_no_line_that_is_too_long(width: int) -> None:
    text = report_text(REPORT, Style(width=width, cut=True))
    assert [line for line in text.splitlines() if len(line) > width] == []
    assert "--to-destination 10.244.1.9:80\n" in text
    assert " ".join(text[text.index("2 errors") :].split()) == (
        "2 errors, 1 warning; judged 2 of 3 nodes, 14 Services, 41 addresses; 2 parts not examined"
    )
    assert ("\njudged 2 of 3" in text) is (width < 100)


def test_a_terminal_gets_a_rule_as_a_few_lines_below_each_other() -> None:
    assert (
        "  nodes/node02/iptables-save.txt\n"
        "    412  -A KUBE-SEP-GEKJR4UBUI5ONAYW -p tcp -m comment\n"
        '         --comment "default/local-cluster" -m tcp -j DNAT\n'
        "         --to-destination 10.244.1.9:80\n"
        "  cluster/endpointslices-v1.json\n"
    ) in report_text(REPORT, Style(width=70, cut=True))


def test_a_pipe_gets_rules_in_one_piece() -> None:
    rule = "-A X " + "y" * 500
    text = only(replace(STALE, evidence=(Evidence(source="s", line=1, text=rule),)))
    assert f"\n  s\n    1  {rule}\n" in text


def test_colour_changes_nothing_but_colour() -> None:
    coloured = report_text(REPORT, Style(colour=True))
    assert "\x1b[1;31mERROR\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == report_text(REPORT, PIPE)


def test_nothing_from_the_snapshot_reaches_the_terminal_unescaped() -> None:
    evil = "\x1b[2J\u202e\x07\u200b\x9b31m"
    finding = replace(
        STALE,
        node=evil,
        service=evil,
        port=evil,
        frontend=evil,
        expected=evil,
        actual=evil,
        message=evil,
        hint=evil,
        affected=(Affected(node=evil, service="x", port=evil),),
        evidence=(Evidence(source=evil, line=1, text=evil),),
    )
    report = replace(
        REPORT,
        cluster=evil,
        server_version=evil,
        modes={"n": evil},
        findings=(finding,),
        gaps=(Gap(node=evil, subject=evil, reason=evil),),
    )
    text = report_text(report, PIPE)
    assert {ch for ch in text if not ch.isprintable()} == {"\n"}
    assert text.count("\\x1b[2J\\u202e") >= 13


def test_what_a_baseline_says() -> None:
    lines = report_text(ACCEPTED, Style()).splitlines()
    start = lines.index("Accepted, not counted")
    assert lines[start + 1 : start + 4] == [
        "  ERROR KD204 stale-endpoint  node02 default/local-cluster 80/TCP",
        "    Traffic goes to an endpoint that is gone",
        "    accepted by team-net until 2027-01-31: known since March",
    ]
    assert "  counts again: its acceptance by team-net ended on 2026-01-31 (known since March)" in lines
    start = lines.index("No longer needed in kdiag-baseline.toml")
    assert lines[start + 1] == "  KD301 default/old (line 7)"
    assert lines[-1].startswith("1 error, 1 warning, 1 accepted; judged 2 of 3 nodes")
    assert not any(line.startswith("ERROR KD204") for line in lines)
    narrow = report_text(ACCEPTED, Style(width=60, cut=True)).splitlines()
    assert "1 error, 1 warning, 1 accepted;" in narrow


def test_a_baseline_that_says_nothing() -> None:
    quiet = replace(ACCEPTED, findings=(), baseline=BaselineUse(path="b"))
    assert "Accepted" not in report_text(quiet, Style())
    assert "No longer" not in report_text(quiet, Style())


def test_a_hostile_baseline_stays_text() -> None:
    text = report_text(POISONED, Style())
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
