"""Several answers at once, and files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from tests.cli.conftest import Kdiag
from tests.schemas import published_schema


@pytest.fixture(autouse=True)
def _no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def test_several_at_once(kdiag: Kdiag, tmp_path: Path) -> None:
    alone = kdiag("check-cidrs", "--demo")
    sarif, junit = tmp_path / "k.sarif", tmp_path / "k.xml"
    outcome = kdiag("check-cidrs", "--demo", "-o", "text=-", "-o", f"sarif={sarif}", "-o", f"junit={junit}")
    assert outcome == alone
    jsonschema.Draft4Validator(published_schema("sarif-2.1.0")).validate(json.loads(sarif.read_text()))
    assert ElementTree.parse(junit).getroot().tag == "testsuites"


def test_files_only(kdiag: Kdiag, tmp_path: Path) -> None:
    path = tmp_path / "k.txt"
    outcome = kdiag("check-cidrs", "--demo", "--color", "always", "-o", f"text={path}")
    assert (outcome.out, outcome.err) == ("", "")
    assert path.read_text() == kdiag("check-cidrs", "--demo").out


def test_trace_and_flags_too(kdiag: Kdiag, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    for command in (["trace", "svc/web"], ["flags"]):
        outcome = kdiag(*command, "--demo", "-o", "text", "-o", f"json={path}")
        assert outcome.out == kdiag(*command, "--demo").out
        assert json.loads(path.read_text()) == json.loads(kdiag(*command, "--demo", "-o", "json").out)


def test_a_fault_does_not_depend_on_the_format(kdiag: Kdiag) -> None:
    codes = {kdiag("preflight", "--demo", "-o", slug).code for slug in ("text", "junit", "sarif", "github", "markdown")}
    assert codes == {1}


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ["-o", "text", "-o", "sarif"],
            "-o text and -o sarif cannot both go to standard output",
            "write one to a file: -o text -o sarif=FILE",
        ),
        (
            ["-o", "json=-", "-o", "junit"],
            "-o json and -o junit cannot both go to standard output",
            "write one to a file: -o json -o junit=FILE",
        ),
        (
            ["-o", "json=x.out", "-o", "junit=./x.out"],
            "two answers cannot both go to x.out",
            "give each a file of its own",
        ),
        (["-o", "json=none/x"], "cannot write none/x: there is no directory none", "mkdir -p none"),
        (["-o", "json=."], "cannot write .: it is a directory", "name a file in it, as in ./kdiag.out"),
        (["-o", "json="], "invalid value for '--output' / '-o': 'json=' names no file", None),
        (["-o", "xml=x"], "invalid value for '--output' / '-o': 'xml' is not one of 'text', 'json', ", None),
    ],
)
def test_what_cannot_be(
    kdiag: Kdiag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: str, hint: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = kdiag("check-cidrs", "--demo", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    lines = outcome.err.splitlines()
    assert lines[0].startswith(f"error: {error}")
    if hint is not None:
        assert lines[1:] == [f"hint: {hint}"]
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_written_is_written(kdiag: Kdiag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def partly(source: str, target: Path) -> None:
        if str(target).endswith("bad"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", partly)
    monkeypatch.chdir(tmp_path)
    outcome = kdiag("check-cidrs", "--demo", "-o", "text", "-o", "json=bad", "-o", "junit=good")
    assert outcome.code == 2
    assert outcome.err.startswith("error: cannot write bad: No space left on device\nhint: ")
    assert "; judged " in outcome.out
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_summary_of_a_job(kdiag: Kdiag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    markdown = kdiag("preflight", "--demo", "-o", "markdown").out
    assert path.read_text() == "before\n"
    outcome = kdiag("preflight", "--demo", "-o", "github")
    assert (outcome.code, outcome.err) == (1, "")
    assert all(line.startswith("::") for line in outcome.out.splitlines())
    assert path.read_text() == "before\n" + markdown
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    outcome = kdiag("preflight", "--demo", "-o", "github")
    assert outcome.code == 2
    assert outcome.out.startswith("::")
    assert outcome.err.startswith(f"error: cannot write {tmp_path}: Is a directory\n")
