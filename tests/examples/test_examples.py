"""Every code has an example, and it is what kdiag prints today."""

from __future__ import annotations

import re

import pytest

from kdiag.checks import all_checks
from kdiag.checks.examples import DIRECTORY, example_of
from tests.examples.__main__ import example_text
from tests.examples.cases import EXAMPLES

CODES = [check.code for check in all_checks()]


def test_every_code_has_one() -> None:
    assert sorted(EXAMPLES) == CODES
    assert sorted(path.stem for path in DIRECTORY.glob("*.txt")) == CODES


@pytest.mark.parametrize("code", CODES)
def test_example_is_what_kdiag_prints(code: str) -> None:
    text = example_text(code)
    assert (DIRECTORY / f"{code}.txt").read_text(encoding="utf-8") == text, "run make docs"
    example = example_of(code)
    assert example.console.startswith(f"$ kdiag preflight --snapshot cluster.tar.gz --select {code}")
    assert re.search(rf"^(ERROR|WARNING|INFO) {code} ", example.console, re.MULTILINE)
