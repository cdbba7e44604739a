from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from kdiag.cli import in_time


def printed(source: str, seconds: float) -> tuple[str, str, float]:
    """What a process of its own prints whose answer is `source`, and how long it took from its start."""
    program = (
        "import sys, time; from kdiag.cli.in_time import answer_in_time\n"
        f"def answer():\n    {source}\n    return 7\n"
        f"sys.exit(answer_in_time(answer, otherwise='none', seconds={seconds}))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout, done.stderr, time.monotonic() - started


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("print('one'); print('two')", "one\ntwo\n"),
        ("print('a' * 10**6)", "a" * 10**6 + "\n"),
        ("print('Grüße')", "Grüße\n"),
        ("print('error', file=sys.stderr); print('one')", "one\n"),
        ("sys.exit(3)", ""),
        ("print('one'); raise ValueError('x')", "one\n"),
        ("pass", ""),
    ],
)
def test_an_answer_is_passed_on(source: str, expected: str) -> None:
    assert printed(source, 50)[:2] == (expected, "")


@pytest.mark.parametrize(
    "source",
    [
        "print('half', flush=True); time.sleep(50)",
        # One call that holds the interpreter, which no signal handler and no thread could end.
        "print('half', flush=True); 7 ** (10 ** 9)",
    ],
)
def test_the_deadline_is_hard(source: str) -> None:
    out, err, seconds = printed(source, 0.3)
    assert (out, err) == ("none", "")
    assert seconds < 20


def test_the_exit_code_is_passed_on() -> None:
    program = (
        "import sys; from kdiag.cli.in_time import answer_in_time; sys.exit(answer_in_time(lambda: 7, seconds=50))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7


def test_time_counts_from_the_start_of_the_process() -> None:
    program = "import time; time.sleep(0.1); from kdiag.cli import in_time; print(in_time._time_left_s())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) <= in_time.DEADLINE_S - 0.1
    # This process has been running for longer than that.
    assert in_time._time_left_s() == 0


def test_without_fork_the_answer_is_given_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    assert in_time.answer_in_time(lambda: 7) == 7
