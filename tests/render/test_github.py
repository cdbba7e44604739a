from __future__ import annotations

import re

import pytest

from kdiag.model.report import Report
from kdiag.render.github import AFFECTED_SHOWN, GITHUB
from kdiag.render.style import Style
from tests.render.hostile import ACCEPTED, POISONED
from tests.render.samples import FLUSHED, HEALTHY, REPORT

COMMAND = re.compile(r"::(?P<name>[a-z-]+) (?P<properties>[^:]*)::(?P<message>.*)")


def unescaped(text: str) -> str:
    return re.sub("%(25|0D|0A|3A|2C)", lambda found: chr(int(found[1], 16)), text)


def commands(report: Report) -> list[tuple[str, str, str]]:
    """Name, title and message of every line, read as a runner reads them: each line must be one command."""
    text = GITHUB.report(report, Style(colour=True))
    assert text.endswith("\n")
    out = []
    for line in text[:-1].split("\n"):
        found = COMMAND.fullmatch(line)
        assert found is not None, line
        (assigned,) = found["properties"].split(",")
        key, _, title = assigned.partition("=")
        assert key == "title"
        assert not re.search("[\r\x1b\u202e\ud800]", line)
        out.append((found["name"], unescaped(title), unescaped(found["message"])))
    return out


def test_findings_and_gaps() -> None:
    told = commands(REPORT)
    assert [(name, title) for name, title, _ in told] == [
        ("notice", "kdiag"),
        ("error", "KD204 stale-endpoint node02 default/local-cluster 80/TCP"),
        ("warning", "KD207 unbalanced shop/cart 8080/TCP"),
        ("error", "KD202 missing-base-jump node01"),
        ("warning", "kdiag: Not examined, although wanted"),
        ("notice", "kdiag: Not examined, because there is nothing to see"),
        ("notice", "kdiag: Not examined, as asked"),
    ]
    summary, stale, _, flushed, gap, *_ = (message for _, _, message in told)
    assert summary.endswith("2 errors, 1 warning; judged 2 of 3 nodes, 14 Services, 41 addresses; 2 parts not examined")
    assert "\nexpected: 10.244.1.3:80\nactual: 10.244.1.9:80\n" in stale
    assert "\nnodes/node02/iptables-save.txt:412  -A KUBE-SEP" in stale
    assert flushed.startswith("PREROUTING of table nat does not jump to KUBE-SERVICES.\nNo Service works")
    assert len(FLUSHED.affected) <= AFFECTED_SHOWN
    assert "affected: node01 default/web-00, " in flushed
    assert gap == "iptables-save on node03, node04: connection refused; start sshd"


def test_nothing_found() -> None:
    ((name, title, message),) = commands(HEALTHY)
    assert (name, title) == ("notice", "kdiag")
    assert message == "Cluster one-node\n0 errors, 0 warnings; judged 1 of 1 node, 1 Service, 1 address"


def test_accepted_is_a_notice_and_expired_an_error_again() -> None:
    told = commands(ACCEPTED)
    assert ("notice", "Accepted: KD204 stale-endpoint node02 default/local-cluster 80/TCP") in [
        (name, title) for name, title, _ in told
    ]
    expired = next(message for name, title, message in told if title.startswith("KD202"))
    assert expired.startswith("counts again: its acceptance by team-net ended on 2026-01-31 (known since March)\n")
    assert told[-1] == ("notice", "No longer needed in kdiag-baseline.toml", "KD301 default/old (line 7)")


def test_nothing_breaks_out() -> None:
    told = commands(POISONED)
    assert len(told) == 1 + 5 + 3 + 1
    assert {name for name, _, _ in told} == {"notice", "warning", "error"}
    assert any("::stop-commands::t" in message for _, _, message in told)
    assert any("\\x1b[2J\\u202e" in title for _, title, _ in told)


@pytest.mark.parametrize("report", [REPORT, POISONED])
def test_same_bytes(report: Report) -> None:
    assert GITHUB.report(report, Style()) == GITHUB.report(report, Style(width=60, cut=True))
