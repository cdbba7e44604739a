"""What the README tells people to type and to write: the lab does just that."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def readme_sudoers() -> str:
    """The lines for sudoers."""
    (block,) = re.findall(r"^```sudoers\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert isinstance(block, str)
    return block


def readme_commands() -> list[str]:
    """The commands of "First run on your cluster", with their remarks."""
    text = README.read_text(encoding="utf-8")
    section = text.partition("## First run on your cluster\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```console\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for line in block.splitlines()]
