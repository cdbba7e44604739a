"""What stands in the pages can be typed: commands on the demo are run, all others parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from kdiag.checks import all_checks
from kdiag.cli.app import built_command
from kdiag.cli.main import run

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("tutorial.md", "lecture.md", "security.md", "faq.md")


def commands(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^\$ kdiag (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
    return sorted({*found, *re.findall(r"`(?:kubectl )?kdiag ([^`]+)`", text)})


ALL = [(page, line) for page in PAGES for line in commands(page)]


def parse(line: str) -> click.Context:
    words = shlex.split(line)
    return built_command(words[0]).make_context(words[0], words[1:])


def test_pages_have_commands() -> None:
    assert {page for page, _ in ALL} == set(PAGES)


@pytest.mark.parametrize(("page", "line"), ALL)
def test_command_is_one(page: str, line: str) -> None:
    assert parse(line).info_name == line.split()[0]


@pytest.mark.parametrize("line", sorted({line for _, line in ALL if "--demo" in line or line.startswith("explain ")}))
def test_command_works(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(line)) in (0, 1)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert len(captured.out) > 100


def test_tutorial_tells_what_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    run(["preflight", "--demo"])
    out = capsys.readouterr().out
    for shown in ("ERROR KD223 stale-node  node02", "3 errors, 2 warnings"):
        assert shown in text
        assert shown in out
    assert "10.244.2.77" in out
    assert "47 min" in out


def test_checks_that_pages_name_exist() -> None:
    known = {name for check in all_checks() for name in (check.code, check.slug)}
    for page in PAGES:
        for word in re.findall(r"kdiag explain ([\w-]+)", (DOCS / page).read_text(encoding="utf-8")):
            assert word in known
