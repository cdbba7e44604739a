"""The branches of a walk as a tree: the rules that they share once, and forks where they part. Layout alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct

from kdiag.model.dataplane import ClientSet, Disposition, Fate, RuleRef
from kdiag.model.trace import TraceBranch, TraceStep
from kdiag.walk.targets import GOES_ON

BRANCHES_SHOWN = 12
"""Branches shown in full; those that are wrong or unclear are shown beyond this number, too."""

_JUMP = "jump "
_TARGETS = GOES_ON | {"CT", "NOTRACK"}


class Entry(Struct, frozen=True, kw_only=True):
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


class TreeNode(Struct, frozen=True, kw_only=True):
    """Rules that all `branches` pass, in their order; behind them the way ends (one branch) or forks (`children`)."""

    run: tuple[Entry, ...]
    branches: tuple[TraceBranch, ...]
    children: tuple[TreeNode, ...] = ()

    @property
    def share(self) -> float:
        """The share of the packets that comes here (0 to 1)."""
        return min(sum(branch.share for branch in self.branches), 1.0)

    @property
    def wrong(self) -> bool:
        """True if all that comes here ends as it ought not to."""
        return all(branch.legal is False for branch in self.branches)

    @property
    def unclear(self) -> bool:
        """True if it cannot be told of any of it whether it comes here."""
        return all(branch.unclear for branch in self.branches)


class ClientTree(Struct, frozen=True, kw_only=True):
    """The tree of those clients that fare alike."""

    clients: ClientSet
    root: TreeNode


def shown_branches(branches: Sequence[TraceBranch]) -> list[TraceBranch]:
    """The branches worth showing: the first ones, and all that are wrong or unclear."""
    return [
        branch
        for index, branch in enumerate(branches)
        if index < BRANCHES_SHOWN or branch.legal is False or branch.unclear
    ]


def trees_of(branches: Sequence[TraceBranch]) -> list[ClientTree]:
    """One tree for each set of clients, in the order of the branches."""
    return [
        ClientTree(clients=group[0].clients, root=_tree([(branch, entries_of(branch)) for branch in group]))
        for group in (list(members) for _, members in groupby(branches, key=lambda item: _clients_key(item.clients)))
    ]


def entries_of(branch: TraceBranch) -> list[Entry]:
    """The branch line by line; neighbouring jumps that come to nothing share one."""
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


def _tree(items: Sequence[tuple[TraceBranch, Sequence[Entry]]]) -> TreeNode:
    branches = tuple(branch for branch, _ in items)
    first = items[0][1]
    if len(items) == 1:
        return TreeNode(run=tuple(first), branches=branches)
    common = min(_common(first, entries) for _, entries in items)
    parts = groupby(enumerate(items), key=lambda item: _next_key(item[0], item[1][1], common))
    children = tuple(_tree([(branch, entries[common:]) for _, (branch, entries) in members]) for _, members in parts)
    return TreeNode(run=tuple(first[:common]), branches=branches, children=children)


def _next_key(index: int, entries: Sequence[Entry], common: int) -> tuple[object, ...]:
    """What parts the branches; one that ends here is a branch of its own."""
    return entries[common].told if common < len(entries) else (index,)


def _common(before: Sequence[Entry], entries: Sequence[Entry]) -> int:
    """How many entries at the start are the same rules with the same effect."""
    number = 0
    for old, new in zip(before, entries, strict=False):
        if old.told != new.told:
            break
        number += 1
    return number


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


def _folded(steps: Sequence[TraceStep]) -> list[Entry]:
    if not steps:
        return []
    chains = ", ".join(step.action.removeprefix(_JUMP) for step in steps)
    return [_entry(steps, f"{_JUMP}{chains}: nothing matches there")]


def _entry(steps: Sequence[TraceStep], action: str) -> Entry:
    step = steps[0]
    return Entry(
        hook=step.hook,
        table=step.table,
        chain=step.chain,
        depth=step.depth,
        action=action,
        rules=tuple(item.rule for item in steps if item.rule is not None),
        unclear=step.unclear,
        share=step.share,
    )


def _clients_key(clients: ClientSet) -> tuple[object, ...]:
    interfaces = None if clients.interfaces is None else tuple(sorted(clients.interfaces))
    return clients.addresses.family, clients.addresses.ranges, interfaces
