"""A walk as a graph: the boxes and arrows that Mermaid, DOT and SVG draw alike. Layout alone.

What passes without effect (jumps into chains in which nothing matches, RETURN, a policy that accepts) is left out: the
text form has it.
"""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from kdiag.model.trace import Trace, TraceBranch, TraceWalk
from kdiag.render.layout import count, cut_middle, visible
from kdiag.render.walk_tree import ClientTree, Entry, TreeNode, shown_branches, trees_of
from kdiag.render.walk_words import (
    FROM,
    KINDS,
    client_words,
    end_words,
    percent,
    share_words,
    title_words,
    verdict_words,
)

COLUMNS = 44
"""Characters of the longest line in a box; longer text is wrapped, longer words lose their middle."""

_NOTHING = ": nothing matches there"


class Role(enum.Enum):
    """What a box stands for."""

    CLIENT = "client"
    RULES = "rules"
    END = "end"
    MISSING = "missing"
    NOTE = "note"


class State(enum.Enum):
    """How what passes there fares; each has a word and a line style of its own beside its colour."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    DOUBT = "doubt"
    MISSING = "missing"


class Box(Struct, frozen=True, kw_only=True):
    """A box: its heading, and lines below it. All text is escaped for terminals, and not yet for a format.

    `headings` are the lines (0 is the first below the heading) that are headings too: of another hook or table.
    """

    key: str
    role: Role
    state: State
    heading: str
    lines: tuple[str, ...] = ()
    headings: frozenset[int] = frozenset()


class Arrow(Struct, frozen=True, kw_only=True):
    """From box to box; `label` is the share of the packets, empty where it is all that comes."""

    source: str
    target: str
    state: State
    label: str = ""


class TraceGraph(Struct, frozen=True, kw_only=True):
    """Boxes in the order of the text form; the arrows make a forest, one tree for each client box."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def trace_graph(trace: Trace) -> TraceGraph:
    """The graph of the walk that a trace shows in full; a note instead if it has none."""
    if trace.walk is None:
        words = wrapped("; ".join(trace.notes) or "there is nothing to follow")
        note = Box(key="n0", role=Role.NOTE, state=State.PLAIN, heading=visible(trace.title), lines=words)
        return TraceGraph(title=visible(trace.title), boxes=(note,), arrows=())
    return walk_graph(trace.walk, owned=trace.service_port is not None)


def walk_graph(walk: TraceWalk, *, owned: bool = True) -> TraceGraph:
    """The graph of a walk. `owned`: a Service has the address."""
    drawn = _Drawing(walk, owned=owned)
    return TraceGraph(
        title=visible(title_words(walk, owned=owned)), boxes=tuple(drawn.boxes), arrows=tuple(drawn.arrows)
    )


def wrapped(words: str) -> tuple[str, ...]:
    """Text, escaped, in lines of at most COLUMNS."""
    lines = textwrap.wrap(visible(words), COLUMNS, break_long_words=False, break_on_hyphens=False)
    return tuple(cut_middle(line, COLUMNS) for line in lines)


class _Drawing:
    """Boxes and arrows so far."""

    def __init__(self, walk: TraceWalk, *, owned: bool) -> None:
        self.boxes: list[Box] = []
        self.arrows: list[Arrow] = []
        shown = shown_branches(walk.branches)
        trees = trees_of(shown)
        for tree in trees:
            start = self._box(
                Role.CLIENT, State.PLAIN, f"from {FROM[walk.frontend.position]}", _start(walk, tree, owned)
            )
            self._node(tree.root, start, "")
        left = len(walk.branches) - len(shown)
        if left:
            words = f"and {count(left, 'more branch', 'more branches')} as expected"
            self._box(Role.NOTE, State.PLAIN, words, ())
        first = self.boxes[0].key if trees else None
        for text in walk.missing:
            key = self._box(Role.MISSING, State.MISSING, "MISSING", wrapped(text))
            if first is not None:
                self._arrow(first, key, State.MISSING, "0%")

    def _box(
        self, role: Role, state: State, heading: str, lines: Sequence[str], headings: frozenset[int] = frozenset()
    ) -> str:
        key = f"n{len(self.boxes)}"
        short = cut_middle(visible(heading), COLUMNS)
        box = Box(key=key, role=role, state=state, heading=short, lines=tuple(lines), headings=headings)
        self.boxes.append(box)
        return key

    def _arrow(self, source: str, target: str, state: State, label: str) -> None:
        self.arrows.append(Arrow(source=source, target=target, state=state, label=label))

    def _node(self, node: TreeNode, source: str, label: str) -> None:
        state = _state(node)
        sections = list(_tables(node.run))
        if sections:
            (heading, first), *others = sections
            lines = list(first)
            headings = set()
            for text, more in others:
                headings.add(len(lines))
                lines.extend((text, *more))
            key = self._box(Role.RULES, State.PLAIN, heading, lines, frozenset(headings))
            self._arrow(source, key, state, label)
            source, label = key, ""
        if not node.children:
            branch = node.branches[0]
            ending = _end_state(branch)
            share = share_words(branch.share)
            key = self._box(Role.END, ending, f"{verdict_words(branch)}, {share}", wrapped(end_words(branch)))
            self._arrow(source, key, state, label)
        for child in node.children:
            self._node(child, source, percent(child.share))


def _start(walk: TraceWalk, tree: ClientTree, owned: bool) -> list[str]:
    to = f"to {KINDS[walk.frontend.kind]} {walk.frontend.label}" if owned else f"to {walk.frontend.label}"
    lines = (f"on {walk.node}", f"as {client_words(tree.clients)}", to)
    return [part for line in lines for part in wrapped(line)]


def _tables(run: Sequence[Entry]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What happens in one hook and table, in lines; nothing for those in which nothing happens."""
    for (hook, table), entries in groupby(run, key=lambda entry: (entry.hook, entry.table)):
        lines = [line for entry in _with_effect(list(entries)) for line in _lines(entry)]
        if lines:
            yield f"{hook}, table {table}", tuple(lines)


def _lines(entry: Entry) -> tuple[str, ...]:
    number = f"{entry.lines} " if entry.lines else ""
    doubt = " (cannot tell whether it matches)" if entry.unclear else ""
    whole = visible(f"{number}{entry.chain}: {entry.action}{doubt}")
    if len(whole) <= COLUMNS:
        return (whole,)
    below = wrapped(f"{entry.action}{doubt}")
    return (cut_middle(visible(f"{number}{entry.chain}:"), COLUMNS), *(f"  {line}" for line in below))


def _with_effect(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries without those after which all is as before, a jump to a RETURN among them."""
    for index, entry in enumerate(entries):
        following = entries[index + 1] if index + 1 < len(entries) else None
        returns = following is not None and _is_return(following) and following.depth > entry.depth
        if entry.unclear or not (returns or _is_return(entry) or entry.action.endswith(_NOTHING)):
            yield entry


def _is_return(entry: Entry) -> bool:
    return not entry.unclear and entry.action in ("RETURN", "policy ACCEPT")


def _state(node: TreeNode) -> State:
    if node.wrong:
        return State.BAD
    if node.unclear:
        return State.DOUBT
    return State.GOOD if all(branch.legal for branch in node.branches) else State.PLAIN


def _end_state(branch: TraceBranch) -> State:
    word = verdict_words(branch)
    return {"as expected": State.GOOD, "WRONG": State.BAD, "cannot tell": State.DOUBT}.get(word, State.PLAIN)
