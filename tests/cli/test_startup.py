"""What must be fast stays fast: the import list of a fresh process is watched, because it does not depend on the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

HEAVY = (
    "kubernetes",
    "paramiko",
    "rich",
    "pydantic",
    "pydantic_core",
    "tabulate",
    "yaml",
    "msgspec",
    "asyncio",
    "requests",
    "tomllib",
)


def imported(*arguments: str, program: Sequence[str] = ("-m", "kdiag"), **environment: str) -> tuple[str, set[str]]:
    """Standard output, and the modules that were imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        *(
            (command, "--help")
            for command in ("preflight", "check-rules", "trace", "flags", "collect", "doctor", "explain")
        ),
    ],
)
@pytest.mark.parametrize(("columns", "from_page"), [("80", True), ("100", True), ("90", False)])
def test_help_is_light(arguments: tuple[str, ...], columns: str, from_page: bool) -> None:
    out, modules = imported(*arguments, COLUMNS=columns)
    assert out.startswith("Usage: kdiag")
    assert not modules & set(HEAVY)
    assert ("typer" not in modules) is from_page


def test_version_needs_no_command_line() -> None:
    out, modules = imported("--version")
    assert re.fullmatch(r"kdiag \d+\.\d+\.\d+\n", out)
    assert not modules & {*HEAVY, "typer", "click"}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("kdiag che", "check-rules"),
        ("kdiag trace --sna", "--snapshot"),
        ("kdiag preflight --fail-on w", "warning"),
        ("kdiag preflight -o sa", "sarif"),
        ("kdiag doctor --transport l", "local"),
        ("kdiag explain KD2", "KD201"),
        ("kdiag trace --demo --node c", "controlplane"),
    ],
)
def test_completion_is_light(typed: str, expected: str) -> None:
    out, modules = imported(
        # What kdiag runs in a process of its own, whose standard error goes nowhere.
        program=("-c", "from kdiag.cli.fast_completion import answer; answer('complete_bash')"),
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split()) - 1),
    )
    assert expected in out.split()
    assert not modules & {*HEAVY, "typer", "click", "kdiag.checks", "kdiag.cli.app"}


def test_console_script_points_at_main() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import kdiag.__main__, sys; sys.argv = ['kdiag', 'nonsense']; sys.exit(kdiag.__main__.main())",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no command nonsense\n")
