"""The list of checks, and what every check must have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kdiag.checks
from kdiag.checks import all_checks
from kdiag.checks.interface import Check
from tests.checks.builders import cluster, view

IDS = [check.code for check in all_checks()]


def test_checks_stand_in_the_order_of_their_codes() -> None:
    assert sorted(IDS) == IDS
    assert len(set(IDS)) == len(IDS)


def test_every_check_file_is_in_the_list() -> None:
    directory = Path(kdiag.checks.__path__[0])
    written = {
        path.stem.replace("_", "-")
        for path in directory.glob("*.py")
        if re.search(r"^CHECK = Check\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert written == {check.slug for check in all_checks()}


@pytest.mark.parametrize("check", all_checks(), ids=IDS)
def test_every_check_is_documented(check: Check) -> None:
    assert re.fullmatch(r"KD[1-4]\d\d", check.code)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", check.slug)
    assert not check.title.endswith(".")
    assert check.hint.endswith(".")
    for part in ("**What it does to traffic.**", "**How it is found.**", "**What is left alone.**"):
        assert part in check.explanation


@pytest.mark.parametrize("check", all_checks(), ids=IDS)
def test_every_check_is_silent_about_nothing(check: Check) -> None:
    assert list(check.run(view())) == []
    assert list(check.run(view(cluster(seen=())))) == []
