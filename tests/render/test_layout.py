from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.render.layout import (
    at_most,
    count,
    cut_middle,
    enumeration,
    fitted,
    paragraphs,
    some,
    table,
    table_blocks,
    visible,
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain text", "plain text"),
        ("größer ≥ 3", "größer ≥ 3"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\tc\nd\x00e", "a\\rb\\tc\\nd\\x00e"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u2028\u2029\x85\x9b", "\\u2028\\u2029\\x85\\x9b"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_visible(raw: str, expected: str) -> None:
    assert visible(raw) == expected


@given(st.text(alphabet=st.characters()))
def test_nothing_visible_can_steer_a_terminal(text: str) -> None:
    shown = visible(text)
    assert not [ch for ch in shown if unicodedata.category(ch) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    assert "\n" not in shown


@given(st.text(), st.integers(min_value=20, max_value=120))
def test_paragraphs_break_only_between_words(text: str, width: int) -> None:
    lines = paragraphs(text, width, indent="  ", first="> ")
    for line in lines:
        assert len(line) <= width or " " not in line[2:]
    assert "".join("".join(line[2:] for line in lines).split()) == "".join(
        "".join(visible(part) for part in text.split("\n")).split(" ")
    )


def test_paragraphs_keep_their_lines_and_indent() -> None:
    assert paragraphs("one two\nthree", 40, indent="    ", first="  - ") == ["  - one two", "    three"]


def test_items_of_a_list_hang() -> None:
    text = "These:\n- one two three four five\n- six\nno item"
    assert paragraphs(text, 20, indent="  ") == [
        "  These:",
        "  - one two three",
        "    four five",
        "  - six",
        "  no item",
    ]


RULE = (
    '-A KUBE-SERVICES -d 10.96.100.26/32 ! -s 10.244.0.0/16 -p tcp -m comment --comment "default/web-admin cluster IP" '
    "-m tcp --dport 80 -j KUBE-SVC-VEOXG3UKZKW46WC7"
)


def test_a_rule_that_fits_is_left_alone() -> None:
    assert fitted(RULE, len(RULE)) == [RULE]


def test_a_rule_breaks_between_its_options() -> None:
    assert fitted(RULE, 72) == [
        "-A KUBE-SERVICES -d 10.96.100.26/32 ! -s 10.244.0.0/16 -p tcp -m comment",
        '--comment "default/web-admin cluster IP" -m tcp --dport 80',
        "-j KUBE-SVC-VEOXG3UKZKW46WC7",
    ]


def test_a_rule_breaks_between_words_where_that_saves_a_line() -> None:
    assert fitted(
        '-A KUBE-SEP-HUM5UBKI6Z5WEDVO -p tcp -m comment --comment "default/nodeport-wide" -m tcp -j DNAT '
        "--to-destination 10.244.1.3:80",
        70,
    ) == [
        "-A KUBE-SEP-HUM5UBKI6Z5WEDVO -p tcp -m comment --comment",
        '"default/nodeport-wide" -m tcp -j DNAT --to-destination 10.244.1.3:80',
    ]


@pytest.mark.parametrize("comment", ['--comment "{}"', "/* {} */"])
def test_of_a_long_rule_the_comment_is_cut_first(comment: str) -> None:
    words = "default/" + "a" * 60 + ":" + "b" * 60 + " cluster IP"
    rule = f"-A KUBE-SERVICES -d 10.96.100.26/32 {comment.format(words)} -m tcp --dport 80 -j KUBE-SVC-VEOXG3UKZKW46WC7"
    lines = fitted(rule, 50)
    text = " ".join(lines)
    assert len(lines) <= 3
    assert max(map(len, lines)) <= 50
    assert "-d 10.96.100.26/32" in text
    assert "--dport 80 -j KUBE-SVC-VEOXG3UKZKW46WC7" in text
    assert "default" in text
    assert "..." in text


def test_a_rule_that_is_long_without_its_comment_loses_its_middle() -> None:
    ports = ",".join(str(number) for number in range(1000, 1200))
    for rule in (
        f"-A X -m multiport --dports {ports} -j DROP",
        f'-A X -m comment --comment "why" --dports {ports} -j DROP',
    ):
        lines = fitted(rule, 40)
        assert len(lines) == 3
        assert max(map(len, lines)) <= 40
        assert lines[0].startswith("-A X -m")
        assert lines[-1].endswith("-j DROP")
        assert "..." in "".join(lines)


def test_other_text_loses_its_end() -> None:
    text = '{"updated":"2026-11-23T00:56:05Z","healthy":false,"status":{"IPv4":{"healthy":false}}}'
    assert fitted(text, 40, limit=2) == ['{"updated":"2026-11-23T00:56:05Z",', '"healthy":false,...']
    assert fitted("one two three four five six seven eight nine", 20, limit=2) == [
        "one two three four",
        "five six seven ei...",
    ]
    assert fitted("x" * 50, 20) == ["x" * 20, "x" * 20, "x" * 10]


@given(st.text(), st.integers(min_value=20, max_value=60), st.sampled_from(["", "-A X -j "]))
def test_fitted_always_fits(text: str, width: int, beginning: str) -> None:
    lines = fitted(beginning + text, width)
    assert 1 <= len(lines) <= 3
    assert all(len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)


def test_enumerations_break_between_items_alone() -> None:
    items = ["default/web 80/TCP", "default/dns 53/UDP", "x\n 1"]
    assert enumeration(items, 40, indent="      ", first="all: ") == [
        "all: default/web 80/TCP,",
        "      default/dns 53/UDP, x\\n 1",
    ]
    assert enumeration([], 40, indent="", first="none") == ["none"]
    assert enumeration(["a" * 30], 20, indent="  ", first="one: ") == ["one: " + "a" * 30]


def test_at_most() -> None:
    assert at_most(["a", "b"], 2) == ["a", "b"]
    assert at_most(["a", "b", "c", "d"], 2) == ["a", "b and 2 more"]


def test_blocks_of_a_table_are_its_rows() -> None:
    assert table_blocks(("A", "WHAT"), [("x", "one two three four five"), ("y", "")], width=16, indent=" ") == [
        [" A  WHAT"],
        [" x  one two", "    three four", "    five"],
        [" y"],
    ]


def test_a_row_without_words_is_a_row() -> None:
    assert table_blocks(("A",), [("",), ("x",), ("",)], width=80) == [["A"], [""], ["x"], [""]]


def test_paragraphs_of_nothing() -> None:
    assert paragraphs("", 40) == []


def test_paragraphs_escape() -> None:
    assert paragraphs("a\x1b[2Jb", 40) == ["a\\x1b[2Jb"]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("exactly-10", 10, "exactly-10"),
        ("abcdefghijklmnop", 11, "abcd...mnop"),
        ("abcdefghijklmnop", 10, "abcd...nop"),
        ("abcdefghijklmnop", 2, "a...p"),
    ],
)
def test_cut_middle(text: str, width: int, expected: str) -> None:
    assert cut_middle(text, width) == expected


def test_table_is_aligned() -> None:
    assert table(("A", "LONGER"), [("value", "x"), ("v", "")], width=80, indent="  ") == [
        "  A      LONGER",
        "  value  x",
        "  v",
    ]


def test_table_does_not_read_numbers() -> None:
    assert table(("N",), [("007",), ("1e5",), ("1.50",)], width=80)[1:] == ["007", "1e5", "1.50"]


def test_table_wraps_between_words_first() -> None:
    lines = table(("ADDRESS", "WHAT"), [("10.96.0.10:53/UDP", "one two three four five six")], width=40, whole=1)
    assert lines == ["ADDRESS            WHAT", "10.96.0.10:53/UDP  one two three four", "                   five six"]


def test_table_breaks_words_when_it_must() -> None:
    lines = table(("A", "B"), [("a" * 30, "b" * 30)], width=40)
    assert max(map(len, lines)) <= 40
    assert "".join(lines[1:]).count("a") == 30


def test_table_overruns_rather_than_vanish() -> None:
    lines = table(("A", "B", "C"), [("a" * 30, "b" * 30, "c" * 30)], width=12)
    assert max(map(len, lines)) == 34


def test_table_escapes_cells() -> None:
    assert table(("A",), [("\x1b]0;x\x07",)], width=80)[1] == "\\x1b]0;x\\x07"


def test_counting_words() -> None:
    assert count(1, "node") == "1 node"
    assert count(0, "node") == "0 nodes"
    assert count(2, "address", "addresses") == "2 addresses"
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c", "d"], 2) == "a, b and 2 more"
