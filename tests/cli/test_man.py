from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kdiag.cli.commands import SLUGS
from kdiag.cli.man import man_pages

MAN = Path(__file__).parents[2] / "docs/man"


def test_pages_are_fresh_and_no_others_lie_about() -> None:
    pages = man_pages()
    assert {f"docs/man/{path.name}" for path in MAN.iterdir()} == set(pages)
    assert len(pages) == len(SLUGS) + 1


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("path", sorted(man_pages()))
def test_page_renders_without_warnings(path: str) -> None:
    text = man_pages()[path]
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-rLL=100n"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in re.sub(".\x08", "", done.stdout)  # bold is printed twice
