from __future__ import annotations

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from msgspec.structs import replace

from kdiag.model.report import Evidence, Gap, Report
from kdiag.render.markdown import LIMIT_CHARACTERS, MARKDOWN
from kdiag.render.style import Style
from tests.render.hostile import ACCEPTED, EVIL, POISONED, UNNEEDED
from tests.render.samples import HEALTHY, REPORT, STALE

PARSER = MarkdownIt("commonmark").enable("table")
OUR_HTML = re.compile(r"(?:<details>\n<summary>[^<>]*</summary>|</details>)\n?")
INVISIBLE = "\u200b"


def text_of(report: Report) -> str:
    text = MARKDOWN.report(report, Style(colour=True))
    assert len(text) <= LIMIT_CHARACTERS + 100
    return text


def tokens(report: Report) -> list[Token]:
    """All tokens, those of inline text included. HTML that is not ours fails."""
    out: list[Token] = []
    for token in PARSER.parse(text_of(report)):
        out += [token, *(token.children or [])]
        if token.type == "html_block":
            assert OUR_HTML.fullmatch(token.content), token.content
    return out


def words(report: Report) -> str:
    """What a reader sees."""
    shown = [token.content for token in tokens(report) if token.type in {"text", "code_inline", "fence", "html_block"}]
    return unescape("\n".join(shown)).replace(INVISIBLE, "")


def test_table_details_and_gaps() -> None:
    found = tokens(REPORT)
    assert sum(1 for token in found if token.type == "tr_open") == 1 + 3
    assert sum(1 for token in found if token.type == "html_block") == 2 * 3
    seen = words(REPORT)
    for part in (
        "kdiag: 2 errors, 1 warning; judged 2 of 3 nodes",
        "recorded 2026-11-23 06:05:04 UTC",
        "KD204 stale-endpoint node02 default/local-cluster 80/TCP",
        STALE.message,
        "10.101.67.139:80/TCP",
        "nodes/node02/iptables-save.txt:412  -A KUBE-SEP-GEKJR4UBUI5ONAYW",
        "and 3 more lines",
        "Not examined, although wanted",
        "iptables-save on node03, node04: connection refused; start sshd",
        "nodes: --no-nodes",
    ):
        assert part in seen


def test_nothing_found_is_short() -> None:
    assert text_of(HEALTHY) == (
        "### kdiag: 0 errors, 0 warnings; judged 1 of 1 node, 1 Service, 1 address\n\nCluster one-node\n"
    )


def test_accepted_expired_and_unneeded() -> None:
    seen = words(ACCEPTED)
    assert "1 error, 1 warning, 1 accepted; judged" in seen
    assert "(its acceptance has expired)" in seen
    assert "counts again: its acceptance by team-net ended on 2026-01-31 (known since March)" in seen
    assert "accepted by team-net until 2027-01-31: known since March" in seen
    assert "KD301 default/old (line 7)" in seen
    assert sum(1 for token in tokens(ACCEPTED) if token.type == "tr_open") == 1 + 2


def test_nothing_breaks_out() -> None:
    found = tokens(POISONED)
    assert {token.type for token in found} & {"link_open", "image", "html_inline", "heading_open", "hr"} == {
        "heading_open"
    }
    assert sum(1 for token in found if token.type == "heading_open") == 1
    assert sum(1 for token in found if token.type == "tr_open") == 1 + 4
    rows = "\n".join(line for line in text_of(POISONED).split("\n") if line.startswith("|"))
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows.split("\n"))
    seen = words(POISONED)
    assert "<img src=x onerror=alert(1)>" in seen  # as words
    assert "\x1b" not in text_of(POISONED)
    assert "\u202e" not in text_of(POISONED)
    for token in found:
        if token.type == "text":
            for linked in ("@someone", "#1", "GH-2", ":tada:", "http://", "www.evil"):
                assert linked not in token.content


@pytest.mark.parametrize(
    "start", ["# a", "- a", "+ a", "1. a", "12) a", "> a", "=== a", "    a", "--- a", "* a", "~~~ a", "a\t|"]
)
def test_a_line_stays_a_line(start: str) -> None:
    finding = replace(
        STALE, message=start, evidence=(), hint="", frontend=None, expected=None, actual=None, affected=()
    )
    found = tokens(replace(HEALTHY, findings=(finding,)))
    kinds = {token.type for token in found} - {"inline", "text", "text_special", "html_block", "softbreak"}
    if start == "- a":  # a list in a message is one
        kinds -= {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"}
    assert {kind for kind in kinds if not kind.startswith(("t", "heading"))} == {"paragraph_open", "paragraph_close"}
    assert sum(1 for token in found if token.type == "heading_open") == 1


def test_lists_in_messages() -> None:
    report = replace(HEALTHY, findings=(replace(STALE, message="Two Services:\n- a_b\n- c\nThat is\nall."),))
    shape = [token.type for token in tokens(report) if token.type.startswith(("bullet", "list_item_open", "hardbreak"))]
    own = ["bullet_list_open", *["list_item_open"] * 4, "bullet_list_close"]
    assert shape == ["bullet_list_open", "list_item_open", "list_item_open", "bullet_list_close", "hardbreak", *own]
    for part in ("Two Services:", "a_b", "That is", "all."):
        assert part in words(report).replace("\n_\n", "_").split("\n")


def test_code_in_code() -> None:
    finding = replace(STALE, expected="a `` b", evidence=(Evidence(source="x", line=1, text="``` ````"),))
    found = tokens(replace(HEALTHY, findings=(finding,)))
    assert "a `` b" in [token.content for token in found if token.type == "code_inline"]
    assert [token.content for token in found if token.type == "fence"] == ["x:1  ``` ````\n"]


def test_it_fits_into_a_comment() -> None:
    many = tuple(replace(STALE, node=f"node{number:04}") for number in range(3000))
    gaps = tuple(Gap(node=None, subject=f"part {number}", reason="x" * 90) for number in range(1000))
    unneeded = tuple(replace(UNNEEDED, line=number) for number in range(1000))
    assert ACCEPTED.baseline is not None
    report = replace(REPORT, findings=many, gaps=gaps, baseline=replace(ACCEPTED.baseline, unneeded=unneeded))
    text = text_of(report)
    assert len(text.encode()) < 65_536
    notes = re.findall(r"… (\d+) more (\w+), left out here for length", text)
    assert [noun for _, noun in notes] == ["findings", "findings", "entries", "parts"]
    rows = sum(1 for line in text.split("\n") if line.startswith("| ❌"))
    assert rows + int(notes[0][0]) == 3000
    assert text.count("<details>") + int(notes[1][0]) == 3000
    assert text.count("<details>") == text.count("</details>") > 10
    assert "3000 errors" in text


def test_one_enormous_finding_is_cut() -> None:
    finding = replace(STALE, message="x" * 100_000, hint="y" * 100_000, expected="z" * 100_000)
    assert text_of(replace(HEALTHY, findings=(finding,))).count("<details>") == 1


@pytest.mark.parametrize("report", [REPORT, POISONED])
def test_same_bytes(report: Report) -> None:
    assert MARKDOWN.report(report, Style()) == MARKDOWN.report(report, Style(width=60, cut=True))
    assert EVIL not in MARKDOWN.report(report, Style())
