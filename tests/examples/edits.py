"""Ways to bend the recorded cluster that most examples are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kdiag.model.snapshot import Snapshot
from tests.corpus_fixtures import cluster, variant, variant_api

BASE = "v1.36.2-iptables-nft"
Change = Callable[[dict[str, Any]], None]


def api(kind: str, named: str, change: Change, *, base: Snapshot | None = None) -> Snapshot:
    """One object of a kind changed; `named` is its name or, for slices, that of their Service."""

    def edit(listed: dict[str, Any]) -> None:
        for item in _named(listed, named):
            change(item)

    return variant_api(base or cluster(BASE), kind, edit)


def probe(node: str, name: str, edit: Callable[[str], str], *, base: Snapshot | None = None) -> Snapshot:
    """What one command printed on one node changed."""
    return variant(base or cluster(BASE), node=node, probe=name, edit=edit)


def replacing(old: str, new: str) -> Callable[[str], str]:
    """An edit of text."""
    return lambda text: text.replace(old, new)


def appending(line: str) -> Callable[[str], str]:
    """An edit of text that adds a last line."""
    return lambda text: f"{text.rstrip()}\n{line}\n"


def without(needle: str) -> Callable[[str], str]:
    """An edit of text that takes lines out."""
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if needle not in line)


def _named(listed: dict[str, Any], named: str) -> Iterator[dict[str, Any]]:
    for item in listed["items"]:
        meta = item["metadata"]
        namespace, slash, name = named.partition("/")
        if slash and meta.get("namespace") != namespace:
            continue
        owner = (meta.get("labels") or {}).get("kubernetes.io/service-name")
        if (name if slash else named) in (meta["name"], owner):
            yield item
