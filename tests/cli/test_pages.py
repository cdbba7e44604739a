"""What is answered from pages is what the command line itself would say."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from typer import _completion_classes
from typer._completion_classes import BashComplete, FishComplete, ZshComplete

from kdiag.cli import pages
from kdiag.cli.app import COMMAND, COMMANDS
from kdiag.cli.main import run

NAMES = [None, *(command.slug for command in COMMANDS)]


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


LINES = [
    "",
    "che",
    "preflight",
    "no",
    *(f"{command.slug} --" for command in COMMANDS),
    *(f"{command.slug} -" for command in COMMANDS),
    "preflight --demo --",
    "preflight --demo --node n --no",
    "preflight default/web --fail-on error --f",
    "preflight -o json -o text --out",
    "preflight -n shop -A --",
    "preflight   --demo   --s",
    "trace svc/web --from external --",
    "explain KD201 --",
    "trace -v --v",
    "trace --verbose -",
]
ODD = ["preflight --unknown --", "preflight -vv --", 'preflight "a b" --', "preflight -- --", "preflight --fail-on=e"]
BY_SHELL = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


def _environment(shell: str, line: str) -> dict[str, str]:
    words = line.split()
    count = len(words) + (line.endswith(" ") or not line)
    if shell == "bash":
        stated = {"COMP_WORDS": " ".join(["kdiag", *words]), "COMP_CWORD": str(count)}
    else:
        stated = {"_TYPER_COMPLETE_ARGS": f"kdiag {line}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return {"_KDIAG_COMPLETE": f"complete_{shell}", **stated}


def _by_command_line(shell: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    # typer takes brackets in help for rich's markup, and breaks lines, which zsh and fish take for more words.
    monkeypatch.setattr(_completion_classes, "_sanitize_help_text", lambda text: text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return BY_SHELL[shell](COMMAND, {}, "kdiag", "_KDIAG_COMPLETE").complete()


def _sorted(text: str) -> list[str]:
    """click has the words of --help in the order of a set."""
    return sorted(text.removeprefix("_arguments '*: :((").removesuffix("))'").splitlines())


@pytest.mark.parametrize(("shell", "line"), [*itertools.product(BY_SHELL, LINES)])
def test_completion_is_that_of_the_command_line(shell: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = _environment(shell, line)
    answer = pages.completion(environment)
    wanted = _by_command_line(shell, environment, monkeypatch)
    if wanted in ("", "_files"):
        assert answer is None
    else:
        assert answer is not None
        assert _sorted(answer) == _sorted(wanted)


@pytest.mark.parametrize(
    ("shell", "line"), [*itertools.product(BY_SHELL, [*ODD, "preflight ", "preflight --fail-on "])]
)
def test_what_takes_more_is_for_the_command_line(shell: str, line: str) -> None:
    assert pages.completion(_environment(shell, line)) is None


def test_every_option_is_there() -> None:
    for name, command in COMMAND.commands.items():
        text = (Path(pages.__file__).parent / "pages" / pages.words_path(name)).read_text()
        listed = {word for line in text.splitlines() for word in line.split("\t")[0].split()}
        context = click.Context(command)
        assert listed == {
            word for item in command.get_params(context) if isinstance(item, click.Option) for word in item.opts
        }


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
