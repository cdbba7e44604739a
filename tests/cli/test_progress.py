"""The progress line: what it says, and that it is never written to anything but a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdiag.cli.progress import ProgressLine, watch_for
from tests.live.fixtures import DoubleFactory


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().split("\r\x1b[K")


def test_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdiag.cli.progress._REDRAW_S", 0.0)
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.phase("reading the API")
    line.nodes_expected(4)
    line.started("a")
    line.started("b")
    line.received("a", 3 << 20)
    line.finished("a", failed=False)
    line.finished("b", failed=True)
    line.phase("")
    line.close()
    assert lines_of(stream) == [
        "",
        "reading the API ...",
        "[--------------------] 0 of 4 nodes, 0 running, 0 failed, 0.0 MiB",
        "[--------------------] 0 of 4 nodes, 1 running, 0 failed, 0.0 MiB",
        "[--------------------] 0 of 4 nodes, 2 running, 0 failed, 0.0 MiB",
        "[--------------------] 0 of 4 nodes, 2 running, 0 failed, 3.0 MiB",
        "[#####---------------] 1 of 4 nodes, 1 running, 0 failed, 3.0 MiB",
        "[##########----------] 2 of 4 nodes, 0 running, 1 failed, 3.0 MiB",
        "",
        "",
    ]


def test_it_is_not_drawn_for_every_block() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.nodes_expected(1)
    for _ in range(1000):
        line.received("a", 1)
    line.finished("a", failed=False)
    assert len(lines_of(stream)) < 20
    assert "1 of 1 nodes" in lines_of(stream)[-1]


def test_it_fits_into_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = io.StringIO()
    ProgressLine(stream).phase("x" * 100)
    assert lines_of(stream)[-1] == "x" * 19


def test_a_terminal_that_goes_away_is_no_error() -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError("gone")

    ProgressLine(Gone()).phase("x")


def test_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert watch_for() is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(watch_for(), ProgressLine)
    monkeypatch.setenv("TERM", "dumb")
    assert watch_for() is None


def test_on_a_real_terminal_nothing_is_left_of_it(double: DoubleFactory, tmp_path: Path) -> None:
    path = double().kubeconfig(tmp_path / "kubeconfig")
    controller, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "kdiag", "flags", "--no-nodes", "--settle", "0", "--kubeconfig", str(path)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        check=False,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    told = os.read(controller, 65536).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "reading the API ..." in told
    assert told.endswith("\r\x1b[K")
    assert re.sub(r"\r\x1b\[K[^\r]*", "", told) == ""
