"""Generated files are up to date, and the generator says so when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdiag.checks import all_checks
from kdiag.cli.commands import all_commands
from kdiag.cli.docs import generated_files, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(generated_files()))
def test_generated_file_is_fresh(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == generated_files()[path], "run make docs"


def test_every_command_and_check_is_documented() -> None:
    files = generated_files()
    for command in all_commands():
        assert f"\n## kdiag {command.slug}\n" in files["docs/cli.md"]
    for check in all_checks():
        assert f"\n### {check.code} {check.slug}\n" in files["docs/checks.md"]


def test_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert capsys.readouterr().err == "error: this is not the project's directory\n"
    (tmp_path / "pyproject.toml").touch()
    assert main(["--check"]) == 1
    assert "error: docs/cli.md is out of date: run make docs\n" in capsys.readouterr().err
    assert main([]) == 0
    assert "wrote completions/_kdiag\n" in capsys.readouterr().out
    assert main(["--check"]) == 0
    assert main([]) == 0
    assert capsys.readouterr().out == ""
