from __future__ import annotations

from datetime import date

import pytest

from kdiag.errors import ParseError
from kdiag.model.baseline import BaselineEntry, BaselineKey
from kdiag.parse.baseline import parse_baseline

CODES = ("KD101", "KD204")
WHOLE = """\
version = 1

[[accepted]]
code = "KD204"
node = "*"
service = "default/web"
port = "80/TCP"
frontend = "10.96.0.10:80/TCP"
reason = "moves in March"
owner = "team-net"
expires = 2027-01-31

[[accepted]]
code = "KD101"
reason = "old bridge"
owner = "ann"
expires = "2027-02-01"
"""
KEYS = 'reason = "r"\nowner = "o"\nexpires = 2027-01-31\n'


def test_entries() -> None:
    baseline = parse_baseline(WHOLE, "b.toml", codes=CODES)
    assert baseline.path == "b.toml"
    assert baseline.entries == (
        BaselineEntry(
            key=BaselineKey(code="KD204", node="*", service="default/web", port="80/TCP", frontend="10.96.0.10:80/TCP"),
            reason="moves in March",
            owner="team-net",
            expires=date(2027, 1, 31),
            line=3,
        ),
        BaselineEntry(
            key=BaselineKey(code="KD101"), reason="old bridge", owner="ann", expires=date(2027, 2, 1), line=13
        ),
    )
    assert [str(entry) for entry in baseline.entries] == [
        "KD204 * default/web 80/TCP 10.96.0.10:80/TCP (line 3)",
        "KD101 (line 13)",
    ]


def test_an_empty_file_accepts_nothing() -> None:
    assert parse_baseline("", "b.toml", codes=CODES).entries == ()


def test_a_time_is_a_day() -> None:
    text = '[[accepted]]\ncode = "KD101"\nreason = "r"\nowner = "o"\nexpires = 2027-01-31T10:00:00Z\n'
    assert parse_baseline(text, "b.toml", codes=CODES).entries[0].expires == date(2027, 1, 31)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("versoin = 1\n", "b.toml:1: there is no key 'versoin'", "did you mean version?"),
        ("[[acepted]]\n", "b.toml:1: there is no key 'acepted'", "did you mean accepted?"),
        ("version = 2\n", "b.toml:1: version 2 is not known", "this kdiag reads version 1"),
        ("accepted = 3\n", "b.toml:1: accepted is not a list of tables", "[[accepted]] begins each entry"),
        ("\n[accepted]\n", "b.toml:2: accepted is not a list of tables", "[[accepted]] begins each entry"),
        (
            f'[[accepted]]\ncode = "KD204"\nservce = "a/b"\n{KEYS}',
            "b.toml:3: there is no key 'servce'",
            "did you mean service?",
        ),
        (f'[[accepted]]\ncode = "KD24"\n{KEYS}', "b.toml:2: there is no check 'KD24'", "did you mean KD204?"),
        (f'[[accepted]]\ncode = "x"\n{KEYS}', "b.toml:2: there is no check 'x'", "kdiag explain lists all checks"),
        (f"[[accepted]]\n{KEYS}", "b.toml:1: code is missing", "say which check it is about, as in KD204"),
        (f"[[accepted]]\ncode = 204\n{KEYS}", "b.toml:2: code is not a text", 'code = "204"'),
        ('[[accepted]]\ncode = "KD204"\nreason = " "\n', "b.toml:3: reason is empty", "say why it is accepted"),
        ('[[accepted]]\ncode = "KD204"\nreason = "r"\n', "b.toml:1: owner is missing", "say who answers for it"),
        (
            '[[accepted]]\ncode = "KD204"\nreason = "r"\nowner = "o"\nexpires = ""\n',
            "b.toml:5: expires is empty",
            "give the last day on which it is accepted, as in 2027-01-31",
        ),
        (
            '[[accepted]]\ncode = "KD204"\nreason = "r"\nowner = "o"\n',
            "b.toml:1: expires is missing",
            "give the last day on which it is accepted, as in 2027-01-31",
        ),
        (
            '[[accepted]]\ncode = "KD204"\nreason = "r"\nowner = "o"\nexpires = "soon"\n',
            "b.toml:5: expires is not a day: 'soon'",
            "give the last day on which it is accepted, as in 2027-01-31",
        ),
        (
            '[[accepted]]\ncode = "KD204"\nreason = "r"\nowner = "o"\nexpires = 7\n',
            "b.toml:5: expires is not a day: 7",
            "give the last day on which it is accepted, as in 2027-01-31",
        ),
        (
            f'[[accepted]]\ncode = "KD204"\n{KEYS}[[accepted]]\ncode = "KD204"\n{KEYS}',
            "b.toml:6: KD204 is accepted twice, first on line 1",
            "delete one of them",
        ),
        ("=", "b.toml:1: not TOML: invalid statement, column 1", None),
    ],
)
def test_mistakes(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ParseError) as caught:
        parse_baseline(text, "b.toml", codes=CODES)
    assert caught.value.message == message
    if hint is not None:
        assert caught.value.hint == hint
