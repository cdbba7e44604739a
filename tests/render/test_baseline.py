from __future__ import annotations

import tomllib
from datetime import date

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kdiag.model.baseline import BaselineEntry, BaselineKey, BaselineUse
from kdiag.model.report import Severity
from kdiag.parse.baseline import parse_baseline
from kdiag.render.baseline import baseline_text
from tests.render.hostile import EVIL, poisoned
from tests.render.samples import FLUSHED, HEALTHY, REPORT, STALE

CODES = ("KD202", "KD204", "KD207")


def entry(key: BaselineKey) -> BaselineEntry:
    return BaselineEntry(key=key, reason="why", owner="who", expires=date(2027, 1, 31))


def test_what_is_new_is_left_to_be_filled_in() -> None:
    text = baseline_text(REPORT)
    tables = tomllib.loads(text)["accepted"]
    assert [table["code"] for table in tables] == ["KD202", "KD204", "KD207"]
    assert tables[1] == {
        "code": "KD204",
        "node": "node02",
        "service": "default/local-cluster",
        "port": "80/TCP",
        "frontend": "10.101.67.139:80/TCP",
        "reason": "",
        "owner": "",
        "expires": "",
    }
    assert "node" not in tables[2]
    assert "\n# error: Traffic goes to an endpoint that is gone\n[[accepted]]\n" in text
    assert baseline_text(HEALTHY).endswith("version = 1\n")


def test_filled_in_it_accepts_what_it_was_made_of() -> None:
    text = baseline_text(REPORT)
    for key, value in (("reason", '"r"'), ("owner", '"o"'), ("expires", "2027-01-31")):
        text = text.replace(f'{key} = ""', f"{key} = {value}")
    entries = parse_baseline(text, "b.toml", codes=CODES).entries
    assert len(entries) == len(REPORT.findings)
    for finding in REPORT.findings:
        assert sum(1 for item in entries if item.key.covers(finding)) == 1


def test_what_is_known_is_kept_and_what_is_unneeded_goes() -> None:
    everywhere = entry(BaselineKey(code="KD202", node="*"))
    elsewhere = entry(BaselineKey(code="KD204", node="node09"))
    over = entry(BaselineKey(code="KD207", node="node09"))
    report = replace(HEALTHY, findings=(STALE, FLUSHED, FLUSHED), baseline=BaselineUse(path="b.toml", unneeded=(over,)))
    tables = tomllib.loads(baseline_text(report, (everywhere, elsewhere, over)))["accepted"]
    assert [(table["code"], table["node"], table["reason"]) for table in tables] == [
        ("KD202", "*", "why"),
        ("KD204", "node02", ""),
        ("KD204", "node09", "why"),
    ]
    assert tables[0]["expires"] == date(2027, 1, 31)


def test_nothing_breaks_out() -> None:
    report = replace(HEALTHY, findings=(poisoned(Severity.ERROR),))
    (table,) = tomllib.loads(baseline_text(report))["accepted"]
    assert table["service"] == EVIL.replace("\ud800", "\ufffd")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_every_name_comes_back(text: str) -> None:
    report = replace(HEALTHY, findings=(replace(STALE, node=text, title=text),))
    (table,) = tomllib.loads(baseline_text(report))["accepted"]
    assert table["node"] == text
