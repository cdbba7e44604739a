"""The jumps that kube-proxy puts into built-in chains, and what suffers where one is missing."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from kdiag.model.addresses import Family
from kdiag.model.dataplane import Position
from kdiag.model.difference import CauseKind, Condition, Symptom
from kdiag.model.proxy import Version
from kdiag.model.rules import Ruleset
from kdiag.planes.iptables_lines import chain_reference, rules_of

FROM_WIRE = frozenset({Position.POD, Position.EXTERNAL})
FROM_NODE = frozenset({Position.NODE})
NOT_SENT_ON = frozenset({Symptom.NOT_PROGRAMMED, Symptom.REFUSED})
REFUSED = frozenset({Symptom.REFUSED})
MASKED = frozenset({Symptom.MASQUERADE_MISSING, Symptom.MASQUERADE_NEEDLESS})
NOT_REFUSED = frozenset({Symptom.NOT_REFUSED})
UNMASKED = frozenset({Symptom.MASQUERADE_MISSING})


class BaseJump(Struct, frozen=True):
    """A jump from a built-in chain, the release since which it is there, and the differences that its lack explains."""

    table: str
    hook: str
    target: str
    since: Version
    positions: frozenset[Position] | None
    symptoms: frozenset[Symptom]
    harm: str


# Source: pkg/proxy/iptables/proxier.go, iptablesJumpChains of 1.16 to 1.36; only what every release since
# the named one keeps.
BASE_JUMPS = (
    BaseJump(
        "nat",
        "PREROUTING",
        "KUBE-SERVICES",
        (1, 16),
        FROM_WIRE,
        NOT_SENT_ON,
        "packets that arrive from pods or from outside are not translated",
    ),
    BaseJump(
        "nat", "OUTPUT", "KUBE-SERVICES", (1, 16), FROM_NODE, NOT_SENT_ON, "the node's own packets are not translated"
    ),
    BaseJump("nat", "POSTROUTING", "KUBE-POSTROUTING", (1, 16), None, UNMASKED, "nothing is masqueraded"),
    BaseJump(
        "filter",
        "FORWARD",
        "KUBE-FORWARD",
        (1, 16),
        FROM_WIRE,
        REFUSED,
        "masqueraded Service traffic is not let through by a FORWARD policy of DROP",
    ),
    BaseJump(
        "filter",
        "FORWARD",
        "KUBE-SERVICES",
        (1, 18),
        FROM_WIRE,
        NOT_REFUSED,
        "Services without endpoints are not refused for pods and outside clients",
    ),
    BaseJump(
        "filter",
        "OUTPUT",
        "KUBE-SERVICES",
        (1, 16),
        FROM_NODE,
        NOT_REFUSED,
        "Services without endpoints are not refused for the node itself",
    ),
    BaseJump(
        "filter",
        "FORWARD",
        "KUBE-EXTERNAL-SERVICES",
        (1, 19),
        FROM_WIRE,
        NOT_REFUSED,
        "external addresses without endpoints are not refused",
    ),
    BaseJump(
        "filter",
        "INPUT",
        "KUBE-EXTERNAL-SERVICES",
        (1, 16),
        None,
        NOT_REFUSED,
        "NodePorts without endpoints are not refused",
    ),
    BaseJump(
        "filter",
        "FORWARD",
        "KUBE-PROXY-FIREWALL",
        (1, 25),
        FROM_WIRE,
        NOT_REFUSED,
        "source ranges of load balancers are not enforced for forwarded packets",
    ),
    BaseJump(
        "filter",
        "INPUT",
        "KUBE-PROXY-FIREWALL",
        (1, 25),
        None,
        NOT_REFUSED,
        "source ranges of load balancers are not enforced for addresses on the node",
    ),
    BaseJump(
        "filter",
        "OUTPUT",
        "KUBE-PROXY-FIREWALL",
        (1, 25),
        FROM_NODE,
        NOT_REFUSED,
        "source ranges of load balancers are not enforced for the node itself",
    ),
)


def missing_base_jumps(ruleset: Ruleset, version: Version | None, family: Family) -> Iterator[Condition]:
    """A condition for each jump that ought to be there for this release (of an unknown one, those of all)."""
    for jump in BASE_JUMPS:
        if not ruleset.covers_table(jump.table):
            continue
        if version is None and jump.since > (1, 16):
            continue
        if version is not None and version < jump.since:
            continue
        rules = rules_of(ruleset, jump.table, jump.hook)
        if any(rule.target == jump.target for rule in rules):
            continue
        hook = ruleset.chain(jump.table, jump.hook)
        where = () if hook is None else (chain_reference(ruleset, jump.table, hook),)
        yield Condition(
            cause=CauseKind.BASE_JUMP,
            family=family,
            detail=f"chain {jump.hook} of table {jump.table} has no jump to {jump.target}: {jump.harm}",
            expected=f"{jump.table} {jump.hook}: -j {jump.target}",
            actual="no such rule",
            rules=where,
            positions=jump.positions,
            symptoms=jump.symptoms,
        )
