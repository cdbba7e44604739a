"""Traces whose names were chosen by somebody who wishes a picture ill, and other unusual ones."""

from __future__ import annotations

from msgspec.structs import replace

from kdiag.model.trace import Trace
from tests.render.samples import GOOD_BRANCH, STALE_BRANCH, TRACE, step

HOSTILE = (
    "\"]; n0 --> evil[\"x\"] %% `'\\",
    "</title></svg><script>alert(1)</script>",
    "]]> <!-- & &amp; #quot; #35; --> ```\n```",
    "\\l\\N\\\" label=evil; }",
    "click n0 href \"javascript:alert(1)\"",
    "\x1b[2J\u202e\u2028\u2029\x00\ud800",
    "end subgraph graph flowchart classDef {{|}} ((x)) 中文 é",
)  # fmt: skip


def named(name: str) -> Trace:
    """A trace in which all text that others choose is `name`."""
    assert TRACE.walk is not None
    evil = step(7, name, f"jump {name}", depth=2, share=0.5)
    inner = step(8, name, f"DNAT to {name}", depth=3, share=0.5)
    branches = tuple(
        replace(branch, steps=(*branch.steps[:2], evil, inner), endpoint=name, source_address=name)
        for branch in (GOOD_BRANCH, STALE_BRANCH)
    )
    other = replace(STALE_BRANCH, steps=(*STALE_BRANCH.steps[:2], replace(evil, hook=name, table=name)))
    walk = replace(TRACE.walk, node=name, expected=name, missing=(name,), branches=(*branches, other))
    return replace(TRACE, title=name, notes=(name,), walk=walk)


def without_walk(name: str = "default/web") -> Trace:
    """A trace that has nothing to show."""
    return replace(TRACE, title=name, walk=None, notes=(f"the rules of {name} were not read",))


def undecided() -> Trace:
    """A trace with a branch of which it cannot be told whether packets take it, and one that nobody can judge."""
    assert TRACE.walk is not None
    doubtful = replace(step(80, "KUBE-SVC-X", "jump KUBE-SEP-Y", depth=2), unclear=True)
    branches = (
        replace(GOOD_BRANCH, steps=(doubtful,), unclear=True, legal=None),
        replace(GOOD_BRANCH, legal=None),
    )
    return replace(TRACE, walk=replace(TRACE.walk, branches=branches, missing=()))
