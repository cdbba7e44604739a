"""--baseline and --write-baseline from end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Kdiag


@pytest.fixture
def baseline(kdiag: Kdiag, tmp_path: Path) -> Path:
    """A baseline of the demo, filled in."""
    path = tmp_path / "baseline.toml"
    outcome = kdiag("preflight", "--demo", "--write-baseline", str(path))
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    found = re.fullmatch(rf"Wrote {path}: it accepts (\d+) findings", lines[0])
    assert found is not None
    assert lines[1:] == [
        f"{found[1]} of them lack a reason, an owner and a last day: fill them in before --baseline reads it"
    ]
    fill_in(path, "9999-12-31")
    return path


def fill_in(path: Path, expires: str) -> None:
    text = path.read_text()
    for key, value in (("reason", '"known"'), ("owner", '"team-net"'), ("expires", expires)):
        text = text.replace(f'{key} = ""', f"{key} = {value}")
    path.write_text(text)


def test_what_is_accepted_does_not_count(kdiag: Kdiag, baseline: Path) -> None:
    before = json.loads(kdiag("preflight", "--demo", "-o", "json").out)
    outcome = kdiag("preflight", "--demo", "-o", "json", "--baseline", str(baseline), "--fail-on", "info")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["summary"]["accepted"] == len(before["findings"])
    assert (document["summary"]["errors"], document["summary"]["warnings"]) == (0, 0)
    assert document["baseline"] == {"path": str(baseline), "unneeded": []}
    for finding, old in zip(document["findings"], before["findings"], strict=True):
        assert finding == old | {
            "acceptance": {"state": "accepted", "reason": "known", "owner": "team-net", "expires": "9999-12-31"}
        }
    text = kdiag("preflight", "--demo", "--baseline", str(baseline)).out
    assert "\nAccepted, not counted\n  ERROR KD" in text
    assert "    accepted by team-net until 9999-12-31: known\n" in text
    assert f"\n0 errors, 0 warnings, {len(before['findings'])} accepted; judged" in text


def test_what_has_expired_counts_again(kdiag: Kdiag, baseline: Path) -> None:
    baseline.write_text(baseline.read_text().replace("9999-12-31", "2020-01-31"))
    outcome = kdiag("preflight", "--demo", "--baseline", str(baseline))
    assert outcome.code == 1
    assert "\n  counts again: its acceptance by team-net ended on 2020-01-31 (known)\n" in outcome.out
    assert "accepted; judged" not in outcome.out


def test_what_is_new_counts(kdiag: Kdiag, baseline: Path) -> None:
    entries = baseline.read_text().split("\n# ")
    gone = next(entry for entry in entries if 'code = "KD223"' in entry)
    baseline.write_text(baseline.read_text().replace("\n# " + gone, "\n"))
    outcome = kdiag("preflight", "--demo", "--baseline", str(baseline))
    assert outcome.code == 1
    assert re.findall(r"^(?:ERROR|WARNING) (KD\d+)", outcome.out, re.MULTILINE) == ["KD223"]


def test_what_is_no_longer_needed(kdiag: Kdiag, baseline: Path) -> None:
    entry = '\n[[accepted]]\ncode = "KD301"\nservice = "old/gone"\nreason = "r"\nowner = "o"\nexpires = 9999-12-31\n'
    baseline.write_text(baseline.read_text() + entry)
    outcome = kdiag("preflight", "--demo", "--baseline", str(baseline), "--fail-on", "info")
    assert outcome.code == 0
    assert f"\nNo longer needed in {baseline}\n  KD301 old/gone (line " in outcome.out
    # Another family of checks cannot tell.
    outcome = kdiag("check-cidrs", "--demo", "--baseline", str(baseline))
    assert "No longer needed" not in outcome.out


def test_writing_again_keeps_what_is_filled_in(kdiag: Kdiag, baseline: Path) -> None:
    text = baseline.read_text()
    refused = kdiag("preflight", "--demo", "--write-baseline", str(baseline))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"error: {baseline} exists already\n"
        f"hint: --force replaces it; with --baseline {baseline} as well, what is filled in there is kept\n"
    )
    again = ("--baseline", str(baseline), "--write-baseline", str(baseline), "--force")
    outcome = kdiag("preflight", "--demo", *again)
    assert (outcome.code, outcome.err) == (0, "")
    assert "fill them in" not in outcome.out
    assert baseline.read_text() == text
    # A command that sees less takes nothing away but what it has looked at.
    assert kdiag("check-nodes", "--demo", *again).code == 0
    assert re.findall("^code = .*", baseline.read_text(), re.MULTILINE) == re.findall("^code = .*", text, re.MULTILINE)
    assert kdiag("preflight", "--demo", "--write-baseline", str(baseline), "--force").code == 0
    assert 'reason = ""' in baseline.read_text()


def test_what_was_not_filled_in_is_no_baseline(kdiag: Kdiag, tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    kdiag("preflight", "--demo", "--write-baseline", str(path))
    outcome = kdiag("preflight", "--demo", "--baseline", str(path))
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(rf"error: {path}:\d+: reason is empty\nhint: say why it is accepted\n", outcome.err)


def test_a_baseline_of_part_of_a_cluster_says_so(kdiag: Kdiag, tmp_path: Path, faulty: Path) -> None:
    broken = tmp_path / "snapshot"
    for path in sorted(faulty.rglob("*")):
        target = broken / path.relative_to(faulty)
        if path.is_dir():
            target.mkdir(parents=True)
        elif "endpointslices" not in path.name:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    outcome = kdiag("check-rules", "--snapshot", str(broken), "--write-baseline", str(tmp_path / "b.toml"))
    assert outcome.code == 3
    assert "could not be examined: what is wrong there is not in it\n" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--force"], "--force is for --write-baseline"),
        (["--baseline", "none.toml"], "cannot read the baseline none.toml: No such file or directory"),
        (["--write-baseline", "none/b.toml"], "cannot write none/b.toml: there is no directory none"),
    ],
)
def test_wrong_usage(
    kdiag: Kdiag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = kdiag("preflight", "--demo", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[0] == f"error: {error}"
