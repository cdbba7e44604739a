"""Writes the examples anew: `python -m tests.examples [CODE ...]`. tests/examples/test_examples.py fails while one is old."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from kdiag.checks.examples import DIRECTORY
from kdiag.cli.main import run
from kdiag.gather.snapshot_writer import write_snapshot
from tests.examples.cases import EXAMPLES

ARCHIVE = "cluster.tar.gz"


def example_text(code: str) -> str:
    """The text of an example: what was done, the command, and what it printed."""
    example = EXAMPLES[code]
    command = ["preflight", "--snapshot", ARCHIVE, "--select", code, *example.options]
    with tempfile.TemporaryDirectory() as directory:
        write_snapshot(replace(example.snapshot(), name="lab"), Path(directory) / ARCHIVE)
        for name, content in example.files:
            (Path(directory) / name).write_text(content, encoding="utf-8")
        printed = io.StringIO()
        with contextlib.chdir(directory), contextlib.redirect_stdout(printed):
            exit_code = run(command)
    assert exit_code in (0, 1, 3), (code, printed.getvalue())
    return f"{example.told}\n\n$ kdiag {' '.join(command)}\n{printed.getvalue()}"


def main(codes: list[str]) -> int:
    """Writes those that changed."""
    for code in codes or EXAMPLES:
        text = example_text(code)
        path = DIRECTORY / f"{code}.txt"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
