"""Rule sets of a large iptables dump that was cut up: parts of it, or all that it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from kdiag.model.addresses import Family
from kdiag.model.rules import Backend, Rule, Ruleset
from kdiag.parse.chain_merge import Span
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.iptables_save import parse_iptables_save, parse_lines, read_rule
from kdiag.parse.service_words import ENDPOINT_KIND, Key

_COUNTED = 5
"""Of each form so many where they are counted: what is told by most rules must not be outvoted by what was tampered with."""
_T = TypeVar("_T")


def sample_of(cut: CutDump, family: Family, backend: Backend, source: str, *, counted: bool = True) -> Ruleset:
    """An excerpt with a chain and an address of each form: it shows all that a proxy writes, but not for whom. `counted` if
    what most rules do matters: then there are some more.

    Of a dump that was cut in part, some chains of each kind.
    """
    most = _COUNTED if counted else 1
    if cut.endpoints is not None:
        chains = _few(
            cut.chains_by_form(), cut.like.chains_by_form() if cut.like is not None else {}, cut.changed, most
        )
        chains += cut.endpoints.odd
        chains += [ENDPOINT_KIND + next(iter(places)) for places in cut.endpoints.found.values()]
    else:
        kinds: dict[object, list[bytes]] = {}
        for name in cut.chains:
            kinds.setdefault(name[: name.rindex(b"-")], []).append(name)
        chains = _few(kinds, {}, (), _COUNTED)
        if cut.endpoint_region is not None:
            start = cut.endpoint_region[0] + len(b"-A ")
            chains.append(cut.content[start : cut.content.index(b" ", start)])
    placed, like = cut.placed, cut.placed.like
    keys = _few(placed.by_form(), like.by_form() if like is not None else {}, placed.changed, most)
    return parse_lines(cut.excerpt(chains, keys), family=family, backend=backend, source=source)


def _few(
    own: Mapping[object, list[_T]], taken_over: Mapping[object, list[_T]], changed: Collection[_T], most: int
) -> list[_T]:
    """So many of each form: of what was taken over from another dump and did not change, or else of a dump's own."""
    chosen = {
        form: list(islice((item for item in items if item not in changed), most)) for form, items in taken_over.items()
    }
    for form, items in own.items():
        some = chosen.setdefault(form, [])
        some += items[: most - len(some)]
    return [item for items in chosen.values() for item in items]


def whole_of(cut: CutDump, ruleset: Ruleset) -> Ruleset:
    """The rule set that the whole of a dump holds."""
    text = cut.content.decode("utf-8", errors="replace")
    return parse_iptables_save(text, family=ruleset.family, backend=ruleset.backend, source=ruleset.source)


def excerpt_of(cut: CutDump, ruleset: Ruleset, chains: Collection[bytes], keys: Collection[Key]) -> Ruleset:
    """The rule set that an excerpt of a dump holds."""
    return parse_lines(cut.excerpt(chains, keys), family=ruleset.family, backend=ruleset.backend, source=ruleset.source)


def rules_at(spans: Iterable[Span], cut: CutDump, ruleset: Ruleset) -> Iterator[tuple[Span, Rule]]:
    """The rules of the nat table that stand at these lines; a line that is no rule is left out."""
    # In order, as lines are counted piece by piece.
    for start, end in sorted(spans):
        text = cut.content[start:end].decode("utf-8", errors="replace")
        rule = read_rule(text, family=ruleset.family, table="nat", line=cut.lines.at(start))
        if rule is not None:
            yield (start, end), rule
