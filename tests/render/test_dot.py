from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from kdiag.model.trace import Trace
from kdiag.render.dot import trace_dot
from kdiag.render.style import Style
from tests.render.samples import TRACE
from tests.render.traces import HOSTILE, named, undecided, without_walk

TRACES = [TRACE, undecided(), without_walk(), *map(named, HOSTILE), *map(without_walk, HOSTILE)]

_TEXT = r'"(?:[^"\\]|\\["\\l])*"'
_LINES = (
    r"digraph trace \{",
    r"  rankdir=LR;",
    rf"  label={_TEXT}; labelloc=t;",
    r'  graph \[fontname="monospace", fontsize=12\];',
    r'  (?:node|edge) \[fontname="monospace", fontsize=10\];',
    rf"  n\d+ \[shape=\w+, [^\[\]]*?, label={_TEXT}\];",
    rf'  n\d+ -> n\d+ \[color="#[0-9a-f]{{6}}"[a-z0-9=, ]*(?:, label={_TEXT})?\];',
    r"\}",
)


@pytest.mark.parametrize("trace", TRACES)
def test_every_line_is_of_a_known_form(trace: Trace) -> None:
    text = trace_dot(trace, Style())
    assert [line for line in text.splitlines() if not any(re.fullmatch(form, line) for form in _LINES)] == []


def test_the_wrong_branch_is_told_in_words_and_by_its_line() -> None:
    text = trace_dot(TRACE, Style())
    assert '  n1 -> n4 [color="#b3261e", penwidth=4, label="50% WRONG"];\n' in text
    assert '  n0 -> n6 [color="#b3261e", penwidth=2, style=dotted, label="0%"];\n' in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs dot of Graphviz")
@pytest.mark.parametrize("trace", TRACES)
def test_graphviz_draws_it_as_it_was_meant(trace: Trace) -> None:
    text = trace_dot(trace, Style())
    done = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    drawn = ET.fromstring(done.stdout)
    groups = [group.get("class") for group in drawn.iter("{http://www.w3.org/2000/svg}g")]
    assert groups.count("node") == len(re.findall(r"^  n\d+ \[", text, re.MULTILINE))
    assert groups.count("edge") == len(re.findall(r"^  n\d+ ->", text, re.MULTILINE))
    words = " ".join("".join(item.itertext()) for item in drawn.iter("{http://www.w3.org/2000/svg}text"))
    if trace is TRACE:
        assert "WRONG, 50%" in words
