"""Every way to damage what `nft list ruleset` printed: rules, chains, sets and maps of each table, as JSON and as text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.proof.edits import OTHER_PROTOCOL, Edit, other_address, replaced

Tree = dict[str, Any] | list[Any] | str | int | float | bool | None
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f:]+")
OTHER_SET = {"cluster-ips": "nodeport-ips", "nodeport-ips": "cluster-ips"}
# What says nothing of packets.
ASIDE = (
    "handle",
    "comment",
    "flags",
    "family",
    "table",
    "chain",
    "name",
    "type",
    "mode",
    "offset",
    "key",
    "field",
    "size",
)


def nft_edits(text: str) -> Iterator[Edit]:
    """Every damage of `nft -j list ruleset`, object by object."""
    objects: list[dict[str, Any]] = json.loads(text)["nftables"]
    for at, item in enumerate(objects):
        match item:
            case {"rule": dict()}:
                yield from _rule_edits(objects, at)
            case {"chain": dict()}:
                yield from _chain_edits(objects, at)
            case {"set": dict()} | {"map": dict()}:
                yield from _set_edits(objects, at)
            case {"table": dict()}:
                yield from _table_edits(objects, item)


def _table_edits(objects: list[dict[str, Any]], item: dict[str, Any]) -> Iterator[Edit]:
    words = (item["table"]["family"], item["table"]["name"])
    yield _edit("table deleted", item, lambda: _dumped(_without_table(objects, words, itself=True)))
    yield _edit("table emptied", item, lambda: _dumped(_without_table(objects, words, itself=False)))


def _dumped(objects: list[dict[str, Any]]) -> str:
    return json.dumps({"nftables": objects})


def _edit(kind: str, item: dict[str, Any], make: Callable[[], str]) -> Edit:
    ((what, body),) = item.items()
    named = body.get("name") or body.get("chain")
    return Edit(
        kind=kind,
        place=f"{what} {named} # handle {body.get('handle')}",
        label=json.dumps(body.get("expr", ""))[:200],
        make=make,
    )


def _put(objects: list[dict[str, Any]], at: int, *new: dict[str, Any]) -> Callable[[], str]:
    return lambda: _dumped([*objects[:at], *new, *objects[at + 1 :]])


def _without_table(objects: list[dict[str, Any]], words: tuple[str, str], *, itself: bool) -> list[dict[str, Any]]:
    return [
        item
        for item in objects
        for what, body in item.items()
        if (body.get("family"), body.get("name" if what == "table" else "table")) != words
        or (what == "table" and not itself)
    ]


def _same_chain(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("family", "table", "chain"))


def _rule_edits(objects: list[dict[str, Any]], at: int) -> Iterator[Edit]:
    item, rule = objects[at], objects[at]["rule"]
    expr: list[Any] = rule["expr"]

    def saying(new: list[Any]) -> Callable[[], str]:
        return _put(objects, at, {"rule": {**rule, "expr": new}})

    yield _edit("rule deleted", item, _put(objects, at))
    yield _edit("rule doubled", item, _put(objects, at, item, item))
    after = next((n for n in range(at + 1, len(objects)) if _same_chain(objects[n].get("rule", {}), rule)), None)
    if after is not None:

        def swapped(after: int = after) -> str:
            out = list(objects)
            out[at], out[after] = out[after], out[at]
            return _dumped(out)

        yield _edit("rules swapped", item, swapped)
    for index in range(len(expr)):
        if len(expr) > 1:
            yield _edit("statement deleted", item, saying([*expr[:index], *expr[index + 1 :]]))
        for kind, changed in _changed(expr[index], ()):
            yield _edit(kind, item, saying([*expr[:index], changed, *expr[index + 1 :]]))
    for verdict in ("return", "drop", "accept"):
        if verdict not in expr[-1]:
            yield _edit(f"verdict {verdict}", item, saying([*expr[:-1], {verdict: None}]))


def _chain_edits(objects: list[dict[str, Any]], at: int) -> Iterator[Edit]:
    item, chain = objects[at], objects[at]["chain"]
    where = (chain["family"], chain["table"], chain["name"])

    def is_own(other: dict[str, Any]) -> bool:
        rule = other.get("rule", {})
        return (rule.get("family"), rule.get("table"), rule.get("chain")) == where

    own = any(is_own(other) for other in objects)
    # No kernel lets a chain go that is jumped to.
    yield _edit("chain deleted with all that leads to it", item, lambda: _dumped(_without_chain(objects, item, is_own)))
    if own:
        yield _edit("chain emptied", item, lambda: _dumped([other for other in objects if not is_own(other)]))
    if chain.get("policy") == "accept":
        yield _edit("policy", item, _put(objects, at, {"chain": {**chain, "policy": "drop"}}))
    if own and "hook" not in chain:
        old, new = json.dumps(chain["name"]), json.dumps(_other_name(chain["name"]))
        yield _edit("chain renamed", item, lambda: _dumped(objects).replace(old, new))

        def moved() -> str:
            out = list(objects)
            for n, other in enumerate(objects):
                if is_own(other):
                    out[n] = {"rule": {**other["rule"], "chain": _other_name(chain["name"])}}
            out.insert(at, {"chain": {**chain, "name": _other_name(chain["name"]), "handle": 9999}})
            return _dumped(out)

        yield _edit("chain renamed without those who jump to it", item, moved)


def _without_chain(
    objects: list[dict[str, Any]], item: dict[str, Any], is_own: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """The rule set without a chain, its rules, and the rules and elements of its family that lead there."""
    chain = item["chain"]
    leads = json.dumps({"target": chain["name"]})
    kept: list[dict[str, Any]] = []
    for other in objects:
        ((what, body),) = other.items()
        if other is item or is_own(other):
            continue
        if (body.get("family"), body.get("table")) == (chain["family"], chain["table"]):
            if what == "rule" and leads in json.dumps(body):
                continue
            if what == "map" and leads in json.dumps(body):
                other = {what: {**body, "elem": [each for each in body["elem"] if leads not in json.dumps(each)]}}
        kept.append(other)
    return kept


def _other_name(name: str) -> str:
    """A name of the same form: another hash, else a longer one."""
    found = re.match(r"((?:service|local|external|firewall|endpoint)-)([A-Z2-7]{8})(-.*)", name)
    return f"{found[1]}{found[2][::-1]}{found[3]}" if found else f"{name}-old"


def _set_edits(objects: list[dict[str, Any]], at: int) -> Iterator[Edit]:
    item = objects[at]
    ((what, body),) = item.items()
    elements: list[Any] = body.get("elem", [])

    def holding(new: list[Any]) -> Callable[[], str]:
        return _put(objects, at, {what: {**body, "elem": new}})

    if elements:
        yield _edit(f"{what} emptied", item, holding([]))
    if body.get("timeout"):
        yield _edit("affinity time", item, _put(objects, at, {what: {**body, "timeout": 17}}))
    for index, element in enumerate(elements):
        for kind, new in (("element deleted", []), *(((k, [c]) for k, c in _changed(element, (what,))))):
            found = _edit(kind, item, holding([*elements[:index], *new, *elements[index + 1 :]]))
            yield Edit(kind=found.kind, place=found.place, label=json.dumps(element)[:200], make=found.make)


def _changed(tree: Tree, path: tuple[str, ...]) -> Iterator[tuple[str, Tree]]:
    """Every way in which one leaf of an expression may be another one."""
    match tree:
        case dict():
            if tree.get("op") in ("==", "!=") and "left" in tree:
                yield "negation", {**tree, "op": "!=" if tree["op"] == "==" else "=="}
            for key, value in tree.items():
                if key in ASIDE and not isinstance(value, dict | list):
                    continue
                for kind, changed in _changed(value, (*path, key)):
                    yield kind, {**tree, key: changed}
        case list():
            if path and path[-1] == "set" and len(tree) > 1:
                for index in range(len(tree)):
                    yield "element of a rule deleted", [*tree[:index], *tree[index + 1 :]]
            for index, value in enumerate(tree):
                for kind, changed in _changed(value, (*path, str(index))):
                    yield kind, [*tree[:index], changed, *tree[index + 1 :]]
        case bool() | None:
            return
        case int():
            yield _number(tree, path)
        case str():
            yield from _word(tree, path)


def _number(value: int, path: tuple[str, ...]) -> tuple[str, int]:
    if "mod" in path:
        return "modulus", value + 1
    if "len" in path:
        return "prefix length", value + 1
    if value == 0x4000:
        return "mark", 0x10000
    if "concat" in path or "port" in path:
        return "port", value + 1
    return "number", value + 100


def _word(text: str, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if ADDRESS.fullmatch(text):
        yield "address", other_address(text)
    elif text in OTHER_PROTOCOL and path[-1] != "protocol":
        yield "protocol", OTHER_PROTOCOL[text]
    elif text.startswith("@") and text[1:] in OTHER_SET:
        yield "set", f"@{OTHER_SET[text[1:]]}"
    elif path[-1] == "target":
        yield "jump", _elsewhere(text)
    elif text == "local":
        yield "address type", "multicast"
    elif text == "new":
        yield "state", "established"


def _elsewhere(chain: str) -> str:
    """Another chain to jump to, which leads nowhere further: no kernel takes a loop."""
    return "reject-chain" if chain != "reject-chain" else "cluster-ips-check"


# -- text --------------------------------------------------------------------------------------------------------------

_BARE = re.compile(r"^\t\t(?:type |comment |elements |flags |policy |size |timeout )")
_ELEMENT = re.compile(r"(?:(?<=\{ )|(?<=^\t\t\t     )|(?<=, ))([^,{}]+?)(,|(?= \}))")


def nft_text_edits(text: str) -> Iterator[Edit]:
    """Every damage of `nft list ruleset`, line by line."""
    lines = text.splitlines()
    chain = in_set = False
    for index, line in enumerate(lines):
        if line.startswith("\t") and line.endswith("{") and not line.startswith("\t\t"):
            chain, in_set = line.startswith("\tchain"), not line.startswith("\tchain")
            end = next(at for at in range(index, len(lines)) if lines[at] == "\t}")
            if chain:
                heads = [item for item in lines[index + 1 : end] if "hook" in item]
                if len(heads) < end - index - 1:
                    yield _line_edit("chain emptied", lines, index, replaced(lines, index + 1, end, *heads))
        elif line.startswith("\t\ttype ") and "policy accept" in line:
            yield _line_edit("policy", lines, index, replaced(lines, index, index + 1, line.replace("accept", "drop")))
        elif chain and line.startswith("\t\t") and not _BARE.match(line):
            yield _line_edit("rule deleted", lines, index, replaced(lines, index, index + 1))
            yield _line_edit("rule doubled", lines, index, replaced(lines, index, index, line))
            if lines[index + 1].startswith("\t\t"):
                yield _line_edit(
                    "rules swapped", lines, index, replaced(lines, index, index + 2, lines[index + 1], line)
                )
            for kind, changed in _changed_text(line):
                yield _line_edit(kind, lines, index, replaced(lines, index, index + 1, changed))
        elif in_set and ("elements = {" in line or line.startswith("\t\t\t")):
            yield from _element_edits(lines, index)


def _line_edit(kind: str, lines: list[str], index: int, make: Callable[[], str]) -> Edit:
    return Edit(kind=kind, place=f"line {index + 1}", label=lines[index].strip()[:200], make=make)


def _element_edits(lines: list[str], index: int) -> Iterator[Edit]:
    line = lines[index]
    for found in _ELEMENT.finditer(line):
        if found[2]:
            # The last element of a list has no comma behind it; taking it away would leave one too many.
            gone = line[: found.start()] + line[found.end() :].removeprefix(" ")
            yield _line_edit("element deleted", lines, index, replaced(lines, index, index + 1, gone))
    for kind, changed in _changed_text(line):
        yield _line_edit(kind, lines, index, replaced(lines, index, index + 1, changed))


def _changed_text(line: str) -> Iterator[tuple[str, str]]:
    told = line.partition(" comment ")[0] if " comment " in line and "elements" not in line else line
    for found in re.finditer(r"(?<![-\w.:/@])(\d+\.\d+\.\d+\.\d+|[0-9a-f]{1,4}:[0-9a-f:]+)", told):
        if "__" not in told[max(0, found.start() - 3) : found.start()]:
            yield "address", line[: found.start()] + other_address(found[0]) + line[found.end() :]
    for found in re.finditer(r"(?<= \. )(\d+)(?= |,|$)", told):
        yield "port", line[: found.start()] + str(int(found[0]) + 1) + line[found.end() :]
    for found in re.finditer(r"(?<= \. )(tcp|udp|sctp)\b|(?<=l4proto )(tcp|udp|sctp)\b", told):
        yield "protocol", line[: found.start()] + OTHER_PROTOCOL[found[0]] + line[found.end() :]
    for found in re.finditer(r"(?<=mod )(\d+)", told):
        yield "modulus", line[: found.start()] + str(int(found[0]) + 1) + line[found.end() :]
    for found in re.finditer(r"0x00004000", told):
        yield "mark", line[: found.start()] + "0x00010000" + line[found.end() :]
    for found in re.finditer(r"(?<= )!= ", told):
        yield "negation", line[: found.start()] + line[found.end() :]
    for found in re.finditer(r"\b(?:jump|goto) (\S+?)(?=,| |$)", told):
        yield "jump", line[: found.start(1)] + _elsewhere(found[1]) + line[found.end(1) :]


def kinds_of(edits: Iterator[Edit]) -> Counter[str]:
    """How many edits there are of each kind."""
    return Counter(item.kind for item in edits)
