"""How the two forms of `nft list ruleset` are compared, and the rule set that has every statement in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from kdiag.model.nft import Aside, NftChain, NftRule, NftRuleset, NftSet, Statement, UnknownStatement

DIRECTORY = Path(__file__).parent / "nft"
"""`rich.nft` is the source; `rich.txt` and `rich.json` are what nft 1.0.6 lists of it (`-a` and `-j`).

`v1.36.2-node01.txt.gz` is the text form to the JSON that the recording v1.36.2-nftables-nft has of node01.
"""

FREE_TEXT = ("rt classid", "synproxy")
"""Rules of which only the text form has a text: the JSON form has `"5"` for 5, or no text form is made of it."""
COUNTER_INSIDE = "timeout 1m30s counter }"
"""A counter inside a set update stands in `text`, where it was printed, but is no part of the statement."""
MAP_UPDATE = "update @m-m {"
"""The JSON form has this statement as text; the value is printed again without the map's type."""


def differences(json: NftRuleset, text: NftRuleset, *, table: str | None = None) -> list[str]:
    """In what the same rule set, read from both forms, differs beyond what the two printers are known to do.

    Known of nft 1.0.6: JSON has neither a set's flag `dynamic` nor a table's flags (it prints the table's name there),
    and has a handle everywhere.
    """
    return list(_differences(json, text, table))


def _differences(json: NftRuleset, text: NftRuleset, only: str | None) -> Iterator[str]:
    tables = [(each.family, each.name) for each in json.tables if only in (None, each.name)]
    if tables != [(each.family, each.name) for each in text.tables if only in (None, each.name)]:
        yield "tables"
        return
    for family, name in tables:
        left, right = json.table(family, name), text.table(family, name)
        assert left is not None
        assert right is not None
        if list(left.chains) != list(right.chains) or list(left.sets) != list(right.sets):
            yield f"{family} {name}: names of chains or sets"
            continue
        for set_name in left.sets:
            if _set(left.sets[set_name]) != _set(right.sets[set_name]):
                yield f"{family} {name}: {left.sets[set_name]} / {right.sets[set_name]}"
        for chain_name in left.chains:
            yield from _chain(left.chains[chain_name], right.chains[chain_name])


def _set(made: NftSet) -> NftSet:
    return structs.replace(made, flags=made.flags - {"dynamic"}, line=0)


def _chain(left: NftChain, right: NftChain) -> Iterator[str]:
    if (left.hook, left.policy, len(left.rules)) != (right.hook, right.policy, len(right.rules)):
        yield f"chain {left.name}: {left.hook} {left.policy} {len(left.rules)} / {right.hook} {right.policy}"
        return
    for one, other in zip(left.rules, right.rules, strict=True):
        if any(words in other.text for words in FREE_TEXT):
            continue
        if one.comment != other.comment or (other.handle is not None and one.handle != other.handle):
            yield f"comment or handle: {one} / {other}"
        if [_statement(each) for each in one.statements] != [_statement(each) for each in other.statements]:
            yield f"statements: {one.statements} / {other.statements}"
        if one.text != other.text and not _printed_otherwise(other):
            yield f"text: {one.text} / {other.text}"


def _statement(made: Statement) -> Statement | type[Statement]:
    return type(made) if isinstance(made, Aside | UnknownStatement) else made


def _printed_otherwise(rule: NftRule) -> bool:
    return COUNTER_INSIDE in rule.text or MAP_UPDATE in rule.text


def text_of_one(family: str, rule: str) -> str:
    """A listing with one rule in it."""
    return f"table {family} t {{\n\tchain c {{\n\t\t{rule}\n\t}}\n}}\n"


def only_rule(ruleset: NftRuleset) -> NftRule:
    """The one rule of a rule set."""
    (rule,) = (rule for table in ruleset.tables for chain in table.chains.values() for rule in chain.rules)
    return rule
