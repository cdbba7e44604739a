from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kdiag.cli import plugin

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("preflight -n shop", "preflight -n shop"),
        ("-n shop preflight web", "preflight -n shop web"),
        ("-n=shop --context lab preflight", "preflight -nshop --context lab"),
        ("--context=lab -A -ojson check-rules", "check-rules --context=lab -A -ojson"),
        ("preflight -o=json", "preflight -ojson"),
        ("--help", "--help"),
        ("-n", "-n"),
        ("", ""),
    ],
)
def test_options_as_in_kubectl(given: str, taken: str) -> None:
    assert plugin.as_kdiag_takes(given.split()) == taken.split()


def test_usage_speaks_of_the_plugin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl-kdiag", "explain", "--help"])
    assert plugin.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: kubectl kdiag explain ")
    assert "\n  kubectl kdiag explain KD223\n" in out
    monkeypatch.setattr(sys, "argv", ["kubectl-kdiag", "zzz"])
    assert plugin.main() == 2
    assert "hint: see 'kubectl kdiag --help'" in capsys.readouterr().err


def test_runs_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl-kdiag", "-o=json", "flags", "--demo"])
    assert plugin.main() == 0
    assert capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize(
    ("typed", "expected", "directive"),
    [
        (["pre"], "preflight", ":4"),
        (["explain", "KD22"], "KD223", ":4"),
        (["preflight", "--snapshot", ""], None, ":0"),
        (["no-such", ""], None, ":4"),
        ([], None, ":4"),
    ],
)
def test_completion_speaks_cobra(typed: list[str], expected: str | None, directive: str) -> None:
    # As the script does, but with time enough on the busiest machine.
    program = "import sys; from kdiag.cli import in_time, plugin; in_time.DEADLINE_S = 60; sys.exit(plugin.complete())"
    done = subprocess.run([sys.executable, "-c", program, *typed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    if expected is not None:
        assert expected in [line.partition("\t")[0] for line in lines]
    assert lines[-1] == directive


@pytest.mark.parametrize("script", ["kubectl-kdiag", "kubectl_complete-kdiag"])
def test_scripts_are_installed_with_the_package(script: str) -> None:
    module, _, function = PYPROJECT["project"]["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
