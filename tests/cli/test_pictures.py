"""Which pictures the commands draw, and that everything they need is made for them."""

from __future__ import annotations

import io
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kdiag.cli.options import Colour
from kdiag.cli.output import style_for
from tests.cli.conftest import Kdiag


@pytest.mark.parametrize(
    ("output_format", "beginning", "mark"),
    [
        ("mermaid", "flowchart LR\n", '==>|"'),
        ("dot", "digraph trace {\n", "WRONG"),
        ("svg", "<svg ", "WRONG, every connection"),
    ],
)
def test_a_trace_as_a_picture(kdiag: Kdiag, output_format: str, beginning: str, mark: str) -> None:
    done = kdiag("trace", "svc/web", "--demo", "-o", output_format)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith(beginning)
    if output_format == "mermaid":
        assert "WRONG, every connection" in done.out
    else:
        assert mark in done.out


def test_check_cidrs_draws_the_map(kdiag: Kdiag) -> None:
    done = kdiag("check-cidrs", "--demo")
    assert (done.code, done.err) == (0, "")
    assert "\nAddress ranges\n" in done.out
    assert "OVERLAPS pod range 10.244.0.0/16" in done.out
    for command in ("preflight", "check-rules", "check-nodes", "check-endpoints"):
        assert "Address ranges\n" not in kdiag(command, "--demo").out


@pytest.mark.parametrize("command", ["check-cidrs", "preflight"])
def test_the_map_as_svg(kdiag: Kdiag, command: str) -> None:
    done = kdiag(command, "--demo", "-o", "svg", "--reserved", "10.96.0.0/16")
    words = ["".join(item.itertext()) for item in ET.fromstring(done.out).iter("{http://www.w3.org/2000/svg}text")]
    assert "OVERLAPS pod range 10.244.0.0/16" in words
    assert "OVERLAPS Service range 10.96.0.0/12" in words


def test_the_page_has_the_cluster_beside_the_findings(kdiag: Kdiag, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = kdiag("preflight", "--demo", "-o", "text", "-o", f"html={page}")
    assert done.code == 1
    assert "stale-node  node02" in done.out
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    content = json.loads(found[1])
    assert content["withOverview"] is True
    assert "kube-system/kube-dns" in content["services"]


@pytest.mark.parametrize(("encoding", "ascii_only"), [("utf-8", False), ("latin-1", True), ("ascii", True)])
def test_lines_are_drawn_only_where_they_can_be_written(
    monkeypatch: pytest.MonkeyPatch, encoding: str, ascii_only: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert style_for(Colour.AUTO).ascii_only is ascii_only


def test_an_encoding_that_nobody_knows_gets_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(io.StringIO):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return "no-such-encoding"

    monkeypatch.setattr(sys, "stdout", Odd())
    assert style_for(Colour.AUTO).ascii_only is True
