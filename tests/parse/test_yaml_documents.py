"""YAML and JSON of strangers."""

from __future__ import annotations

import pytest

from kdiag.errors import ParseError
from kdiag.parse.yaml_documents import EXPANDED_LIMIT, NESTING_LIMIT, load_documents


def test_documents_with_their_lines() -> None:
    found = load_documents("# first\na: 1\n---\n---\nitems:\n- b: 2\n\n- c: 3\n")
    assert [item.content for item in found] == [{"a": 1}, {"items": [{"b": 2}, {"c": 3}]}]
    assert [item.line for item in found] == [2, 5]
    assert found[1].item_lines == (6, 8)


def test_json_may_be_indented_with_tabs() -> None:
    assert load_documents('{\n\t"a": [1]\n}')[0].content == {"a": [1]}


def test_dates_stay_text_and_flow_mappings_are_yaml() -> None:
    assert load_documents("{day: 2026-01-02}")[0].content == {"day": "2026-01-02"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a: &x\n  b: *x\n", 1, "not YAML|stands for something that holds it"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "not YAML"),
        ("[" * (NESTING_LIMIT + 1), 1, "deeper than"),
        ("a: \x00", 0, "not YAML"),
    ],
)
def test_what_is_refused(text: str, line: int, words: str) -> None:
    with pytest.raises(ParseError, match=words) as caught:
        load_documents(text)
    assert caught.value.line in (line, line + 1) if line else caught.value.line == 0


def test_aliases_cannot_multiply() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    with pytest.raises(ParseError, match=f"more than {EXPANDED_LIMIT} values"):
        load_documents("\n".join(lines))


def test_a_few_aliases_are_fine() -> None:
    assert load_documents("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n")[0].content == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }
