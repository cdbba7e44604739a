from __future__ import annotations

from kdiag.checks import all_checks
from tests.cli.conftest import Kdiag


def test_list_of_all_checks(kdiag: Kdiag) -> None:
    outcome = kdiag("explain")
    assert (outcome.code, outcome.err) == (0, "")
    for check in all_checks():
        assert f"  {check.code}  {check.slug} " in outcome.out


def test_one_check_by_code_or_slug(kdiag: Kdiag) -> None:
    check = all_checks()[0]
    outcome = kdiag("explain", check.code.lower())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{check.code} {check.slug} ({check.severity.value})\n{check.title}\n\n")
    assert kdiag("explain", check.slug).out == outcome.out
    page, _, example = outcome.out.partition("\nExample. ")
    assert [line for line in page.splitlines() if len(line) > 100] == []
    assert f"\n$ kdiag preflight --snapshot cluster.tar.gz --select {check.code}\n" in example


def test_a_family(kdiag: Kdiag) -> None:
    out = kdiag("explain", "KD3").out
    codes = [check.code for check in all_checks() if check.code.startswith("KD3")]
    assert [line.split()[0] for line in out.splitlines() if line.startswith("KD3")] == codes


def test_colour_on_request(kdiag: Kdiag) -> None:
    assert "\x1b[" in kdiag("explain", "--color", "always").out
    assert "\x1b[" not in kdiag("explain").out


def test_unknown_check(kdiag: Kdiag) -> None:
    outcome = kdiag("explain", all_checks()[0].slug + "x")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"hint: did you mean {all_checks()[0].slug}" in outcome.err
