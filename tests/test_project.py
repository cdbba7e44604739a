"""Promises that the project as a whole makes."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

import kdiag
from kdiag.checks import all_checks

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted(path for directory in ("kdiag", "tests", "bench") for path in (ROOT / directory).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_every_package_has_its_layer() -> None:
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    named = {part.strip() for layer in layers for part in layer.split("|")}
    found = {
        path.stem if path.is_file() else path.name
        for path in (ROOT / "kdiag").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert found - {"__init__", "demo"} == named


def test_codes_and_slugs_of_checks() -> None:
    codes = [check.code for check in all_checks()]
    assert codes == sorted(set(codes))
    assert len({check.slug for check in all_checks()}) == len(all_checks())
    for check in all_checks():
        assert re.fullmatch(r"KD[1-4][0-9]{2}", check.code)
        assert (ROOT / "kdiag/checks" / f"{check.slug.replace('-', '_')}.py").is_file()
        assert len(check.explanation) > 100
        assert check.hint
        assert not check.title.endswith(".")


@pytest.mark.parametrize("path", [".ci/run", ".ci/venv"])
def test_scripts_can_be_run(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    assert (ROOT / path).read_text(encoding="utf-8").startswith("#!/bin/sh\n")


def test_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8")[:600]
    assert opening.startswith("# kdiag\n")
    assert opening.index("make demo") < opening.index("make test")


def test_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(Unreleased|{re.escape(kdiag.__version__)})\]", text, re.MULTILINE)


def test_licence() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PYPROJECT["project"]["license"] == "Apache-2.0"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_have_one_subject(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.is_relative_to(ROOT / "kdiag"):
        assert len(lines) <= 500, "a module over about 400 lines has two subjects"
    assert path.stem not in {"utils", "helpers", "manager", "common"}
