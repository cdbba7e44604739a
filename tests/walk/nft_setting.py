"""nftables rules as text, walked on the node of `tests.walk.setting`."""

from __future__ import annotations

from kdiag.model.addresses import Protocol
from kdiag.model.dataplane import Position
from kdiag.model.nft import NftRuleset
from kdiag.parse.nft_text import parse_nft_text
from kdiag.walk.cases import cases_of
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.nft_rules import NftSpace
from kdiag.walk.program import Program, Space
from kdiag.walk.walker import Leaf, Walker
from tests.walk.setting import (
    NETWORKS,
    NODE_IP,
    OUTSIDE,
    POD,
    POD6,
    VIP,
    clients_at,
    describe,
    frontend,
    ruleset,
)


def nft(text: str) -> NftRuleset:
    found = parse_nft_text(text, "nft.txt")
    assert found.complete
    return found


def base(rules: str, *, hook: str = "prerouting", kind: str = "filter", priority: int = 0, more: str = "") -> str:
    """Table `ip t` with one base chain; `more` are other chains and sets."""
    lines = "\n".join(f"\t\t{line.strip()}" for line in rules.strip().splitlines())
    return (
        f"table ip t {{\n{more}\n\tchain c {{\n\t\ttype {kind} hook {hook} priority {priority}; policy accept;\n"
        f"{lines}\n\t}}\n}}\n"
    )


def leaves(
    text: str,
    *,
    destination: str = VIP,
    number: int = 80,
    position: Position = Position.POD,
    protocol: str = "TCP",
    only: str | None = None,
    iptables: str = "",
) -> list[Leaf]:
    """Every end of the walk for one client, or for those of the position in the network `only`."""
    goal = frontend(destination, number, position, Protocol(protocol))
    around = NETWORKS[goal.family]
    spaces: list[Space] = [IptablesSpace(ruleset(iptables))] if iptables else []
    spaces.append(NftSpace(nft(text), goal.family))
    clients = clients_at(around, position, destination, only)
    assert clients, "no such client"
    return Walker(Program(spaces, Surroundings(network=around))).walk(goal, clients)


def told(text: str, **where: object) -> dict[str, list[str]]:
    """Outcomes by clients, both in words."""
    return dict(describe(case) for case in cases_of(leaves(text, **where)))  # type: ignore[arg-type]


def one(text: str, **where: object) -> list[str]:
    """The outcomes of a single client, which must all fare alike."""
    position = where.get("position", Position.POD)
    pod = POD6 if ":" in str(where.get("destination", VIP)) else POD
    where.setdefault("only", {Position.POD: pod, Position.NODE: NODE_IP}.get(position, OUTSIDE))  # type: ignore[call-overload]
    found = told(text, **where)
    assert len(found) == 1, found
    return next(iter(found.values()))


def matched(match: str, *, hook: str = "prerouting", before: str = "", more: str = "", **where: object) -> str:
    """`yes`, `no` or `?`: whether a rule with this match takes the packet of one client."""
    outcomes = one(base(f"{before}\n{match} drop", hook=hook, more=more), **where)
    ends = [outcome.partition(" ")[0] for outcome in outcomes]
    if len(ends) == 2:
        assert "dropped" in ends
        return "?"
    return "yes" if ends == ["dropped"] else "no"
