from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kdiag.model.trace import Trace
from kdiag.render.mermaid import trace_mermaid
from kdiag.render.style import Style
from tests.render.samples import TRACE
from tests.render.traces import HOSTILE, named, undecided, without_walk

TRACES = [TRACE, undecided(), without_walk(), *map(named, HOSTILE), *map(without_walk, HOSTILE)]
MODULES = Path(os.environ.get("MERMAID_NODE_MODULES", Path(__file__).parents[2] / "node_modules"))

_TEXT = r"(?:[A-Za-z0-9 .,:/\-_+=()]|#[0-9]+;|<br/>)*"
_LINES = (
    r"flowchart LR",
    rf"  accTitle: {_TEXT}",
    rf'  n[0-9]+(?:\["{_TEXT}"\]|\(\["{_TEXT}"\]\)|\[/"{_TEXT}"/\])',
    rf'  n[0-9]+ (?:-->|==>|-\.->)(?:\|"{_TEXT}"\|)? n[0-9]+',
    r"  classDef (?:good|bad|doubt|missing) [a-z0-9:#,\- ]+",
    r"  class n[0-9]+(?:,n[0-9]+)* (?:good|bad|doubt|missing)",
    r"  linkStyle [0-9]+(?:,[0-9]+)* [a-z0-9:#,\- ]+",
)


@pytest.mark.parametrize("trace", TRACES)
def test_every_line_is_of_a_known_form(trace: Trace) -> None:
    text = trace_mermaid(trace, Style())
    assert text.endswith("\n")
    lines = text.splitlines()
    assert [line for line in lines if not any(re.fullmatch(form, line) for form in _LINES)] == []
    made = set(re.findall(r"^  (n\d+)[\[(]", text, re.MULTILINE))
    used = set(re.findall(r"^  (n\d+) (?:-->|==>|-\.->)", text, re.MULTILINE)) | set(
        re.findall(r" (n\d+)$", text, re.MULTILINE)
    )
    assert used <= made


def test_the_wrong_branch_is_told_in_words_and_by_its_line() -> None:
    text = trace_mermaid(TRACE, Style())
    assert '  n1 ==>|"50#37; WRONG"| n4\n' in text
    assert '  n1 -->|"50#37;"| n2\n' in text
    assert '  n0 -.->|"0#37;"| n6\n' in text
    assert "  linkStyle 3,4 stroke:#b3261e,stroke-width:4px\n" in text


def test_line_breaks_are_ours_alone() -> None:
    assert "#60;br/#62;" in trace_mermaid(without_walk("<br/>"), Style())


@pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "mermaid").is_dir() or not (MODULES / "jsdom").is_dir(),
    reason="needs node, and the packages mermaid and jsdom: npm install --no-save mermaid jsdom",
)
def test_mermaid_itself_reads_it(tmp_path: Path) -> None:
    for number, trace in enumerate(TRACES):
        (tmp_path / f"{number:02}.mmd").write_text(trace_mermaid(trace, Style()), encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(MODULES)
    script = tmp_path / "parse.mjs"
    script.write_text(
        "import {JSDOM} from 'jsdom'; import fs from 'fs';\n"
        "globalThis.window = new JSDOM('').window; globalThis.document = window.document;\n"
        "const mermaid = (await import('mermaid')).default;\n"
        "for (const name of fs.readdirSync('.').filter((item) => item.endsWith('.mmd')))\n"
        "  console.log(name, (await mermaid.parse(fs.readFileSync(name, 'utf8'))).diagramType);\n"
    )
    done = subprocess.run(["node", "parse.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["flowchart-v2"] * len(TRACES)
