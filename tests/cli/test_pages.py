"""What is answered from pages is what the command line itself would say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kdiag.cli import pages
from kdiag.cli.commands import SLUGS
from kdiag.cli.main import run

NAMES = [None, *SLUGS]


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_that_of_the_command_line(
    name: str | None, option: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    arguments = [option] if name is None else [name, option]
    assert run(arguments) == 0
    assert pages.help_page(arguments) == capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["preflight"], ["nothing", "--help"], ["preflight", "--demo", "--help"], ["../80/kdiag", "-h"]]
)
def test_other_words_are_for_the_command_line(arguments: list[str]) -> None:
    assert pages.help_page(arguments) is None


@pytest.mark.parametrize(("columns", "known"), [("90", False), ("79", False), ("nonsense", True), ("0", True)])
def test_other_widths_are_for_the_command_line(columns: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "__stdout__", None)
    assert (pages.help_page(["--help"]) is not None) is known


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m kdiag --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_ascii_locales() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "kdiag", "preflight", "--help"], capture_output=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, b"")
