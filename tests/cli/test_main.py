from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kdiag.cli import app, main
from kdiag.cli.app import built_command
from kdiag.cli.command import Command
from kdiag.cli.commands import all_commands
from kdiag.errors import KdiagError
from tests.cli.conftest import Kdiag

TOO_LONG = " is not a number of seconds up to 1000000000"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["preflght"], "there is no command preflght", "did you mean preflight?"),
        (["zzz"], "there is no command zzz", "see 'kdiag --help'"),
        (["preflight", "--snapshoot", "x"], "there is no option --snapshoot", "did you mean --snapshot or --ssh-port?"),
        (["preflight", "-q"], "there is no option -q", "see 'kdiag preflight --help'"),
        (["trace"], "missing argument 'TARGET'", "see 'kdiag trace --help'"),
        (["trace", "--demo"], "missing argument 'TARGET'", "see 'kdiag trace --help'"),
        (
            ["flags", "-o", "jsn"],
            "invalid value for '--output' / '-o': 'jsn' is not one of 'text', 'json', 'yaml'",
            "see 'kdiag flags --help'",
        ),
        (["preflight", "a", "b"], "got unexpected extra argument (b)", "see 'kdiag preflight --help'"),
        (["preflight", "--settle", "-1"], "invalid value for '--settle': -1.0 is not in the range x>=0", None),
        *(
            (["preflight", "--demo", "--settle", text], f"invalid value for '--settle': {text}{TOO_LONG}", None)
            for text in ("nan", "inf", "1e+300")
        ),
        (["watch", "--interval", "nan"], f"invalid value for '--interval': nan{TOO_LONG}", None),
        (["--nonsense"], "there is no option --nonsense", "see 'kdiag --help'"),
        (["-v", "preflight"], "there is no option -v", "it belongs behind the command, as in 'kdiag preflight -v'"),
        (["preflight", "\x1b[2J", "--snapshot"], "option '--snapshot' requires an argument", None),
        (["\x1b[2J"], "there is no command \\x1b[2J", None),
    ],
)
def test_wrong_usage(kdiag: Kdiag, arguments: list[str], error: str, hint: str | None) -> None:
    outcome = kdiag(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[0] == f"error: {error}"
    assert len(lines) == 2
    if hint is not None:
        assert lines[1] == f"hint: {hint}"


def test_nothing_asked_prints_help_and_fails(kdiag: Kdiag) -> None:
    outcome = kdiag()
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: kdiag")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command(kdiag: Kdiag, flag: str) -> None:
    outcome = kdiag(flag)
    assert (outcome.code, outcome.err) == (0, "")
    for command in all_commands():
        assert f"  {command.slug} " in outcome.out
        assert command.summary in outcome.out


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.slug)
def test_every_parameter_has_help(command: Command) -> None:
    # typer 0.24 loses the help of arguments with click 8.5.
    for parameter in built_command(command.slug).params:
        assert len(getattr(parameter, "help", "")) > 10


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.slug)
def test_help_of_a_command(kdiag: Kdiag, command: Command) -> None:
    outcome = kdiag(command.slug, "-h")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: kdiag {command.slug} [OPTIONS]")
    assert f"\n  {command.summary}\n" in outcome.out


def test_version(kdiag: Kdiag) -> None:
    for flag in ("--version", "-V"):
        outcome = kdiag(flag, "preflight")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("kdiag ")


class Failing:
    """Stands for a command that fails in a certain way; it has click's interface, not ours."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def main(self, **_: object) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KdiagError("it is broken", hint="mend it"), 2, "error: it is broken\nhint: mend it\n"),
        (KdiagError("a\x1bb"), 2, "error: a\\x1bb\n"),
        (click.ClickException("Could not open file."), 2, "error: could not open file\n"),
        (click.UsageError("Bad."), 2, "error: bad\nhint: see 'kdiag --help'\n"),
        (click.NoSuchOption("--x"), 2, "error: there is no option --x\nhint: see 'kdiag --help'\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_errors(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "COMMAND", Failing(error))
    assert main.run([]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


def test_a_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(app, "COMMAND", Failing(RecursionError("too\ndeep")))
    assert main.run([]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: kdiag failed: RecursionError: too\\ndeep"
    assert lines[1].startswith("hint: this is a bug in kdiag: run it again with --debug")
    assert len(lines) == 2


@pytest.mark.parametrize("error", [ValueError("x"), KdiagError("x")])
def test_debug_prints_the_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "COMMAND", Failing(error))
    main.run(["--debug"])
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert "\nerror: " in err


def test_output_is_possible_in_every_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(app, "COMMAND", Failing(KdiagError("x")))
    main.run([])
    out.write("größer")
    out.seek(0)
    assert out.read() == "gr\\xf6\\xdfer"


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m kdiag explain | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kdiag", "explain"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "error: cannot write the answer: No space left on device\n"


def test_interrupted_from_the_keyboard() -> None:
    # Raises in the first import, the earliest moment that Python code can be interrupted at.
    code = (
        "import sys, builtins, kdiag.__main__ as m\n"
        "old = builtins.__import__\n"
        "def interrupted(name, *a, **k):\n"
        "    if name == 'kdiag.cli.main': raise KeyboardInterrupt\n"
        "    return old(name, *a, **k)\n"
        "builtins.__import__ = interrupted\n"
        "sys.argv = ['kdiag', 'flags']\n"
        "sys.exit(m.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
