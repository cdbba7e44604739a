from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.render.layout import count, cut_middle, paragraphs, some, table, visible


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
