"""One walk as text: the rules that a packet meets as a tree, and what ought to have happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kdiag.model.trace import TraceBranch, TraceWalk
from kdiag.render.layout import count, paragraphs, visible
from kdiag.render.style import Ink, Style
from kdiag.render.walk_tree import BRANCHES_SHOWN, Entry, TreeNode, shown_branches, trees_of
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

__all__ = ["BRANCHES_SHOWN", "FROM", "KINDS", "walk_lines"]

_INDENT = "  "


class _Glyphs(NamedTuple):
    """What the tree is drawn with, and the marks in the margin."""

    fork: str
    last: str
    beside: str
    wrong: str
    unclear: str


_UNICODE = _Glyphs("├─ ", "└─ ", "│  ", "✗ ", "? ")
_ASCII = _Glyphs("|- ", "`- ", "|  ", "X ", "? ")
_BELOW = "   "


class _Place(NamedTuple):
    """Where a step happens: hook, table and the dump that its line numbers count in."""

    hook: str
    table: str
    source: str


def walk_lines(walk: TraceWalk, style: Style, *, owned: bool) -> list[str]:
    """The walk under its title, then what was expected and what is missing. `owned`: a Service has the address.

    Rules that branches share are printed once; where they part, the tree forks. What belongs to a wrong branch alone has
    a mark in the margin.
    """
    lines = [style.ink(line, Ink.HEADING) for line in paragraphs(title_words(walk, owned=owned), style.width)]
    shown = shown_branches(walk.branches)
    trees = trees_of(shown)
    for tree in trees:
        if len(trees) > 1:
            lines.extend(paragraphs(f"Clients {client_words(tree.clients)}:", style.width, indent=_INDENT))
        lines.extend(_Tree(tree.root, style).lines())
    if len(shown) < len(walk.branches):
        lines.append(
            f"{_INDENT}and {count(len(walk.branches) - len(shown), 'more branch', 'more branches')} as expected"
        )
    expected = f"{_INDENT}expected: "
    lines.extend(["", *paragraphs(walk.expected, style.width, indent=" " * len(expected), first=expected)])
    for text in walk.missing:
        missing = f"{_glyphs(style).wrong}missing:  "
        found = paragraphs(text, style.width, indent=" " * len(missing), first=missing)
        lines.extend(style.ink(line, Ink.ERROR) for line in found)
    return lines


def _glyphs(style: Style) -> _Glyphs:
    return _ASCII if style.ascii_only else _UNICODE


class _Tree:
    """One tree on its way to text: what was printed last decides what need not be printed again."""

    def __init__(self, root: TreeNode, style: Style) -> None:
        self.root = root
        self.style = style
        self.glyphs = _glyphs(style)
        self.source = ""
        self.before: Sequence[Entry] = ()
        self.columns = self._columns()

    def lines(self) -> Iterator[str]:
        """The tree, line by line."""
        yield from self._node(self.root, "", _Place("", "", ""), 1.0, forked=False)

    def _node(self, node: TreeNode, prefix: str, here: _Place, share: float, *, forked: bool) -> Iterator[str]:
        """The rules of a node, then its end or its forks. `prefix` draws the tree to the left of it."""
        tail = len(node.run)
        if not node.children and forked:
            tail = _same_end(self.before, node.run)
        margin = self._margin(node) if forked else _INDENT
        for entry in node.run[:tail]:
            place = _place(entry, here)
            if place != here:
                dump = f"  ({place.source})" if place.source not in ("", self.source) else ""
                text = f"{place.hook}, table {place.table}{dump}"
                yield from paragraphs(text, self.style.width, indent=margin + prefix)
                self.source = place.source or self.source
            yield from self._line(entry, margin + prefix, with_share=entry.share != share)
            share, here = entry.share, place
        if not node.children:
            if tail < len(node.run):
                hooks = ", ".join(dict.fromkeys(f"{entry.hook} ({entry.table})" for entry in node.run[tail:]))
                yield from paragraphs(f"then as before: {hooks}", self.style.width, indent=margin + prefix)
            yield from self._end(node.branches[0], self._margin(node) + prefix)
            self.before = node.run
        for index, child in enumerate(node.children):
            last = index == len(node.children) - 1
            word = f"  {verdict_words(child.branches[0])}" if child.wrong or child.unclear else ""
            head = f"{self._margin(child)}{prefix}{self.glyphs.last if last else self.glyphs.fork}"
            line = f"{head}{percent(child.share)}{word}"
            yield self.style.ink(line, Ink.ERROR if child.wrong else Ink.HEADING)
            below = prefix + (_BELOW if last else self.glyphs.beside)
            yield from self._node(child, below, here, _first_share(child, share), forked=True)

    def _margin(self, node: TreeNode) -> str:
        if node.wrong:
            return self.glyphs.wrong
        return self.glyphs.unclear if node.unclear else _INDENT

    def _columns(self) -> tuple[int, int, int]:
        """Width of the line numbers, columns that a deeper chain is indented by, and width of the chains."""
        entries = [(entry, level) for entry, level in _all_entries(self.root, 0)]
        number = max((len(entry.lines) for entry, _ in entries), default=1)
        share = len("  33.3%") if any(entry.share != 1.0 for entry, _ in entries) else 0
        for deeper in (2, 1):
            chain = max((deeper * entry.depth + len(visible(entry.chain)) for entry, _ in entries), default=0)
            action = max((len(visible(entry.action)) + 3 * level for entry, level in entries if len(entry.rules) < 2), default=0)  # fmt: skip
            if len(_INDENT) * 2 + number + 2 + chain + 2 + action + share <= self.style.width:
                break
        return number, deeper, chain

    def _line(self, entry: Entry, margin: str, *, with_share: bool) -> list[str]:
        number, deeper, chain = self.columns
        name = " " * (deeper * entry.depth) + visible(entry.chain)
        head = f"{_INDENT}{entry.lines:>{number}}  {name:<{chain}}  "
        share = f"  {percent(entry.share)}" if with_share else ""
        doubt = "  (cannot tell whether it matches)" if entry.unclear else ""
        text = f"{entry.action}{share}{doubt}"
        lines = paragraphs(text, self.style.width, indent=margin + " " * len(head), first=margin + head)
        return [self.style.ink(line, Ink.WARNING) for line in lines] if entry.unclear else lines

    def _end(self, branch: TraceBranch, margin: str) -> list[str]:
        word = verdict_words(branch)
        ink = {"as expected": Ink.GOOD, "WRONG": Ink.ERROR}.get(word, Ink.WARNING)
        first = f"{margin}=> {word}, {share_words(branch.share)}: "
        lines = paragraphs(end_words(branch), self.style.width, indent=margin + "   ", first=first)
        return [self.style.ink(line, ink) for line in lines]


def _first_share(node: TreeNode, otherwise: float) -> float:
    """The share after the first rule: it stands at the fork, so that it need not be printed again."""
    return node.run[0].share if node.run else otherwise


def _all_entries(node: TreeNode, level: int) -> Iterator[tuple[Entry, int]]:
    for entry in node.run:
        yield entry, level
    for child in node.children:
        yield from _all_entries(child, level + 1)


def _same_end(before: Sequence[Entry], entries: Sequence[Entry]) -> int:
    """Where the entries at the end begin that are those of the branch before; they begin with a hook or table."""
    start = len(entries)
    number = 1
    while number <= min(len(before), len(entries)) and before[-number].told == entries[-number].told:
        index = len(entries) - number
        if index == 0 or (entries[index - 1].hook, entries[index - 1].table) != (
            entries[index].hook,
            entries[index].table,
        ):
            start = index
        number += 1
    return start


def _place(entry: Entry, before: _Place) -> _Place:
    """A policy has no line in a dump; it belongs to the place before it, if hook and table are the same."""
    if entry.rules:
        return _Place(entry.hook, entry.table, entry.rules[0].source)
    same = (entry.hook, entry.table) == (before.hook, before.table)
    return _Place(entry.hook, entry.table, before.source if same else "")
