"""One walk as text: the rules that a packet meets, branch by branch, and what ought to have happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from kdiag.model.dataplane import ClientSet, Disposition, Fate, FrontendKind, Masquerade, Position, RuleRef
from kdiag.model.trace import TraceBranch, TraceStep, TraceWalk
from kdiag.render.layout import count, paragraphs, visible
from kdiag.render.style import Ink, Style
from kdiag.walk.targets import GOES_ON

BRANCHES_SHOWN = 12
"""Branches printed in full; those that are wrong or unclear are printed beyond this number, too."""

FROM = {Position.POD: "a pod", Position.NODE: "the node", Position.EXTERNAL: "outside"}
"""Where a client is, in words."""

KINDS = {
    FrontendKind.CLUSTER_IP: "cluster IP",
    FrontendKind.EXTERNAL_IP: "external IP",
    FrontendKind.LOAD_BALANCER_IP: "load-balancer IP",
    FrontendKind.NODE_PORT: "node port",
}
"""Kinds of addresses, in words."""

_INDENT = "  "
_JUMP = "jump "
_TARGETS = GOES_ON | {"CT", "NOTRACK"}
_THE_CLIENTS_OWN = "the client's own"
_A_FOREIGN_RULE = "a rule that is not kube-proxy's"


def walk_lines(walk: TraceWalk, style: Style, *, owned: bool) -> list[str]:
    """The walk under its title, then what was expected and what is missing. `owned`: a Service has the address."""
    frontend = walk.frontend
    to = f"{KINDS[frontend.kind]} {frontend.label}" if owned else frontend.label
    title = f"The way of a new connection on {walk.node}, from {FROM[frontend.position]} to {to}"
    lines = [style.ink(line, Ink.HEADING) for line in paragraphs(title, style.width)]
    shown = [
        branch
        for index, branch in enumerate(walk.branches)
        if index < BRANCHES_SHOWN or branch.legal is False or branch.unclear
    ]
    several = len({_clients_key(branch.clients) for branch in shown}) > 1
    for _, group in groupby(shown, key=lambda branch: _clients_key(branch.clients)):
        branches = list(group)
        if several:
            lines.extend(paragraphs(f"Clients {_clients(branches[0].clients)}:", style.width, indent=_INDENT))
        lines.extend(_tree(branches, style))
    if len(shown) < len(walk.branches):
        lines.append(
            f"{_INDENT}and {count(len(walk.branches) - len(shown), 'more branch', 'more branches')} as expected"
        )
    expected = f"{_INDENT}expected: "
    lines.extend(["", *paragraphs(walk.expected, style.width, indent=" " * len(expected), first=expected)])
    for text in walk.missing:
        missing = f"{_INDENT}missing:  "
        found = paragraphs(text, style.width, indent=" " * len(missing), first=missing)
        lines.extend(style.ink(line, Ink.ERROR) for line in found)
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What one line tells: a rule, a policy, or a row of jumps into chains in which nothing matches.

    `rules` are empty for a policy. `share` is what is left of the branch afterwards; it is no part of what entries are
    compared by, for it may differ where the way forks.
    """

    hook: str
    table: str
    chain: str
    depth: int
    action: str
    rules: tuple[RuleRef, ...]
    unclear: bool
    share: float

    @property
    def lines(self) -> str:
        """`412`, `31-34`, or nothing."""
        numbers = [rule.line for rule in self.rules]
        return "-".join(dict.fromkeys(str(number) for number in (*numbers[:1], *numbers[-1:])))

    @property
    def told(self) -> tuple[object, ...]:
        """All but the share."""
        return self.hook, self.table, self.chain, self.depth, self.action, self.rules, self.unclear


def _entries(branch: TraceBranch) -> list[_Entry]:
    entries = []
    fruitless: list[TraceStep] = []
    for index, step in enumerate(branch.steps):
        following = branch.steps[index + 1] if index + 1 < len(branch.steps) else None
        if _is_fruitless(step, following, branch.fate):
            if fruitless and _may_follow(fruitless[-1], step):
                fruitless.append(step)
                continue
            entries.extend(_folded(fruitless))
            fruitless = [step]
        else:
            entries.extend(_folded(fruitless))
            fruitless = []
            entries.append(_entry((step,), step.action))
    return [*entries, *_folded(fruitless)]


def _is_fruitless(step: TraceStep, following: TraceStep | None, fate: Fate) -> bool:
    """True for a jump into a chain in which no rule matches: the next step is not deeper, or there is none.

    The last step before an unknown end says nothing of what is behind it.
    """
    if step.rule is None or step.unclear or not step.action.startswith(_JUMP):
        return False
    if step.action.removeprefix(_JUMP) in _TARGETS:
        return False
    if following is None:
        return fate.disposition is not Disposition.UNKNOWN
    return (following.hook, following.table) != (step.hook, step.table) or following.depth <= step.depth


def _may_follow(before: TraceStep, step: TraceStep) -> bool:
    return (before.hook, before.table, before.chain, before.depth, before.share) == (
        step.hook,
        step.table,
        step.chain,
        step.depth,
        step.share,
    )


def _folded(steps: Sequence[TraceStep]) -> list[_Entry]:
    if not steps:
        return []
    chains = ", ".join(step.action.removeprefix(_JUMP) for step in steps)
    return [_entry(steps, f"{_JUMP}{chains}: nothing matches there")]


def _entry(steps: Sequence[TraceStep], action: str) -> _Entry:
    step = steps[0]
    return _Entry(
        hook=step.hook,
        table=step.table,
        chain=step.chain,
        depth=step.depth,
        action=action,
        rules=tuple(item.rule for item in steps if item.rule is not None),
        unclear=step.unclear,
        share=step.share,
    )


def _tree(branches: Sequence[TraceBranch], style: Style) -> list[str]:
    """Rules that a branch has in common with the one before it are printed once: those before the fork, and whole hooks
    and tables at the end.

    Every line is `LINE CHAIN ACTION SHARE`, indented by how deep the chain is; a heading stands where hook or table
    change, with the dump where that changes. The share is printed where it changes.
    """
    all_entries = [_entries(branch) for branch in branches]
    columns = _columns([entry for entries in all_entries for entry in entries], style)
    lines: list[str] = []
    before: Sequence[_Entry] = ()
    source = ""
    for number, (branch, entries) in enumerate(zip(branches, all_entries, strict=True), start=1):
        common = _common(before, entries)
        tail = _same_end(before, entries, common)
        if number > 1:
            fork = f": back in {visible(entries[common].chain)}" if 0 < common < len(entries) else ""
            lines.append(f"{_INDENT}branch {number} of {len(branches)}{fork}")
        here = _Place("", "", "")
        share = 1.0
        for index, entry in enumerate(entries[:tail]):
            place = _place(entry, here)
            if index >= common:
                if place != here:
                    dump = f"  ({place.source})" if place.source not in ("", source) else ""
                    lines.extend(paragraphs(f"{place.hook}, table {place.table}{dump}", style.width, indent=_INDENT))
                    source = place.source or source
                lines.extend(_line(entry, columns, style, with_share=entry.share != share))
                share = entry.share
            here = place
        if tail < len(entries):
            hooks = ", ".join(dict.fromkeys(f"{entry.hook} ({entry.table})" for entry in entries[tail:]))
            lines.extend(paragraphs(f"then as before: {hooks}", style.width, indent=_INDENT))
        lines.extend(_end(branch, style))
        before = entries
    return lines


def _common(before: Sequence[_Entry], entries: Sequence[_Entry]) -> int:
    """How many entries at the start are the same rules with the same effect."""
    number = 0
    for old, new in zip(before, entries, strict=False):
        if old.told != new.told:
            break
        number += 1
    return number


def _same_end(before: Sequence[_Entry], entries: Sequence[_Entry], common: int) -> int:
    """Where the entries at the end begin that are those of the branch before; they begin with a hook or table."""
    start = len(entries)
    number = 1
    while number <= min(len(before), len(entries)) - common and before[-number].told == entries[-number].told:
        index = len(entries) - number
        if index == 0 or (entries[index - 1].hook, entries[index - 1].table) != (
            entries[index].hook,
            entries[index].table,
        ):
            start = index
        number += 1
    return start


class _Place(NamedTuple):
    """Where a step happens: hook, table and the dump that its line numbers count in."""

    hook: str
    table: str
    source: str


def _place(entry: _Entry, before: _Place) -> _Place:
    """A policy has no line in a dump; it belongs to the place before it, if hook and table are the same."""
    if entry.rules:
        return _Place(entry.hook, entry.table, entry.rules[0].source)
    same = (entry.hook, entry.table) == (before.hook, before.table)
    return _Place(entry.hook, entry.table, before.source if same else "")


def _columns(entries: Sequence[_Entry], style: Style) -> tuple[int, int, int]:
    """Width of the line numbers, columns that a deeper chain is indented by, and width of the chains."""
    number = max((len(entry.lines) for entry in entries), default=1)
    share = len("  33.3%") if any(entry.share != 1.0 for entry in entries) else 0
    for deeper in (2, 1):
        chain = max((deeper * entry.depth + len(visible(entry.chain)) for entry in entries), default=0)
        action = max((len(visible(entry.action)) for entry in entries if len(entry.rules) < 2), default=0)
        if len(_INDENT) * 2 + number + 2 + chain + 2 + action + share <= style.width:
            break
    return number, deeper, chain


def _line(entry: _Entry, columns: tuple[int, int, int], style: Style, *, with_share: bool) -> list[str]:
    number, deeper, chain = columns
    name = " " * (deeper * entry.depth) + visible(entry.chain)
    head = f"{_INDENT * 2}{entry.lines:>{number}}  {name:<{chain}}  "
    share = f"  {_percent(entry.share)}" if with_share else ""
    doubt = "  (cannot tell whether it matches)" if entry.unclear else ""
    lines = paragraphs(f"{entry.action}{share}{doubt}", style.width, indent=" " * len(head), first=head)
    return [style.ink(line, Ink.WARNING) for line in lines] if entry.unclear else lines


def _end(branch: TraceBranch, style: Style) -> list[str]:
    parts = [_fate(branch.fate)]
    if branch.endpoint:
        parts[0] += f" ({branch.endpoint})"
    if branch.fate.disposition is Disposition.BACKEND:
        parts[0] += f", {_source(branch)}"
    if branch.fate.affinity_s is not None:
        parts.append(f"the client stays with this endpoint for {branch.fate.affinity_s} s")
    if branch.unclear:
        word, ink = "cannot tell", Ink.WARNING
    elif branch.legal is None:
        word, ink = "not judged", Ink.WARNING
    else:
        word, ink = ("as expected", Ink.GOOD) if branch.legal else ("WRONG", Ink.ERROR)
    share = _percent(branch.share) if branch.share < 0.9999995 else "every connection"
    first = f"{_INDENT}=> {word}, {share}: "
    lines = paragraphs("; ".join(parts), style.width, indent=_INDENT + "   ", first=first)
    return [style.ink(line, ink) for line in lines]


def _fate(fate: Fate) -> str:
    to = f" to {fate.backend}" if fate.backend is not None else ""
    return {
        Disposition.BACKEND: f"arrives at {fate.backend}",
        Disposition.UNTRANSLATED: "goes on with its destination unchanged: no rule takes it for a Service",
        Disposition.REJECTED: f"refused{f' after DNAT{to}' if to else ''}: the client gets an error at once",
        Disposition.DROPPED: f"dropped{f' after DNAT{to}' if to else ''}: the client waits until it gives up",
        Disposition.UNKNOWN: "taken by a target whose effect kdiag does not know",
    }[fate.disposition]


def _source(branch: TraceBranch) -> str:
    """The source address that the endpoint sees, and who rewrote it."""
    seen = branch.source_address
    if branch.fate.masquerade is Masquerade.NO:
        own = "from the client's own address"
        return own if seen in ("", _THE_CLIENTS_OWN) else f"{own}, {seen}"
    by_proxy = branch.fate.masquerade is Masquerade.PROXY
    who = f"masqueraded by {'kube-proxy' if by_proxy else _A_FOREIGN_RULE}"
    return f"{who} as coming from {seen}" if seen else who


def _clients_key(clients: ClientSet) -> tuple[object, ...]:
    interfaces = None if clients.interfaces is None else tuple(sorted(clients.interfaces))
    return clients.addresses.family, clients.addresses.ranges, interfaces


def _clients(clients: ClientSet) -> str:
    if clients.interfaces is None:
        return clients.addresses.describe()
    names = [interface or "any other interface" for interface in sorted(clients.interfaces, key=lambda i: (not i, i))]
    return f"{clients.addresses.describe()} by {', '.join(names)}"


def _percent(share: float) -> str:
    """`33.3%`; what is not nothing is not printed as nothing."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + "%"
