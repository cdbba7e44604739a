"""iptables rules made ready for walking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import Effect, Met
from kdiag.model.rules import Chain, NetworkMatch, Rule, Ruleset
from kdiag.walk import targets
from kdiag.walk.actions import (
    Accept,
    Action,
    Change,
    Drop,
    Jump,
    Reject,
    Return,
    Rewrite,
    Translate,
    Unclear,
    Untrack,
)
from kdiag.walk.flow import Flow
from kdiag.walk.matches import compile_matches
from kdiag.walk.meaning import Surroundings, cannot_tell, read_ports
from kdiag.walk.ownership import is_foreign, is_proxy_chain
from kdiag.walk.program import CompiledChain, CompiledRule, Hooked, index_chain, interface_test

# NF_IP_PRI_* of the kernel's include/uapi/linux/netfilter_ipv4.h.
HOOKS: tuple[tuple[str, str, int], ...] = (
    ("PREROUTING", "raw", -300),
    ("PREROUTING", "mangle", -150),
    ("PREROUTING", "nat", -100),
    ("INPUT", "mangle", -150),
    ("INPUT", "filter", 0),
    ("INPUT", "security", 50),
    # Since kernel 2.6.36 the source may be rewritten here.
    ("INPUT", "nat", 100),
    ("FORWARD", "mangle", -150),
    ("FORWARD", "filter", 0),
    ("FORWARD", "security", 50),
    ("OUTPUT", "raw", -300),
    ("OUTPUT", "mangle", -150),
    ("OUTPUT", "nat", -100),
    ("OUTPUT", "filter", 0),
    ("OUTPUT", "security", 50),
    ("POSTROUTING", "mangle", -150),
    ("POSTROUTING", "nat", 100),
)

EFFECTS = {
    None: Effect.NOTHING,
    "ACCEPT": Effect.ACCEPT,
    "RETURN": Effect.RETURN,
    "DROP": Effect.DROP,
    "REJECT": Effect.REJECT,
    "MARK": Effect.MARK,
    "CONNMARK": Effect.MARK,
    "DNAT": Effect.TRANSLATE,
    "REDIRECT": Effect.TRANSLATE,
    "MASQUERADE": Effect.REWRITE,
    "SNAT": Effect.REWRITE,
    "NOTRACK": Effect.UNTRACK,
    "CT": Effect.UNTRACK,
}


class IptablesSpace:
    """One rule set of `iptables-save`. A table that the dump does not cover is passed as if it were empty; whoever reads
    the result has to know (`Ruleset.covers_table`)."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self._unread: dict[tuple[str | None, str | None], list[Rule]] = {}
        for line in ruleset.unread:
            rule = Rule(
                table=line.table or "",
                chain=line.chain or "",
                line=line.line,
                text=line.text,
                target="?",
                unknown=(line.reason,),
            )
            self._unread.setdefault((line.table, line.chain), []).append(rule)

    @property
    def rule_count(self) -> int:
        """Rules in all chains."""
        return self.ruleset.rule_count

    def hooked(self) -> Iterable[Hooked]:
        """The built-in chains that the dump has."""
        for hook, table, priority in HOOKS:
            if self.ruleset.chain(table, hook) is not None:
                yield Hooked(hook, priority, table, table, hook)

    def reached(self, table: str, chain: str) -> Iterator[Rule]:
        """The rules of a chain and of all chains that it leads to, those that could not be read among them."""
        known: set[str] = set()
        ahead = [chain]
        while ahead:
            name = ahead.pop()
            found = self.ruleset.chain(table, name)
            if found is None or name in known:
                continue
            known.add(name)
            for rule in (*found.rules, *self._unread.get((table, name), ())):
                yield rule
                if rule.target is not None:
                    ahead.append(rule.target)

    def compile(self, table: str, chain: str, around: Surroundings, number: Callable[[], int]) -> CompiledChain | None:
        """A chain made ready."""
        found = self.ruleset.chain(table, chain)
        if found is None:
            return None
        rules = found.rules
        unread = self._unread.get((table, chain))
        if unread:
            rules = tuple(sorted((*rules, *unread), key=lambda rule: rule.line))
        compiled = [self._compile_rule(rule, order, around, number()) for order, rule in enumerate(rules)]
        return index_chain(compiled, found.policy, self.end(table, found))

    def end(self, table: str, chain: Chain) -> Met | None:
        """The policy of a built-in chain as packets meet it; None for a user chain."""
        if chain.policy is None:
            return None
        return Met(
            self.ruleset.source,
            chain.line,
            f":{chain.name} {chain.policy}",
            table,
            chain.name,
            f"policy {chain.policy}",
            Effect.DROP if chain.policy == "DROP" else Effect.ACCEPT,
            foreign=is_foreign(chain.name, None),
            is_policy=True,
        )

    def _compile_rule(self, rule: Rule, order: int, around: Surroundings, number: int) -> CompiledRule:
        family = around.network.family
        meaning = compile_matches(rule.modules, rule.matches, around, tracked=rule.table != "raw")
        if rule.unknown:
            meaning.tests.append(cannot_tell)
        decides = rule.target is not None and rule.target not in targets.GOES_ON and not rule.target.startswith("KUBE-")
        if self.ruleset.hides_interfaces and decides and not rule.chain.startswith("KUBE-"):
            # A listing without -v does not print -i and -o: such a rule may be narrower than it looks.
            meaning.tests.append(cannot_tell)
        sources = _addresses(rule.source, family)
        if meaning.sources is not None:
            sources = meaning.sources if sources is None else sources & meaning.sources
        destinations = _addresses(rule.destination, family)
        actions = self._actions(rule, around)
        return CompiledRule(
            met=self.met(rule),
            number=number,
            order=order,
            meaning=meaning,
            actions=actions,
            protocol=rule.protocol.name if rule.protocol and rule.protocol.name != "all" else None,
            protocol_negated=bool(rule.protocol and rule.protocol.negated),
            destinations=destinations.ranges if destinations is not None else None,
            destination_port=_exact_port(rule),
            sources=sources,
            narrows=meaning.narrows,
            in_interface=interface_test(rule.in_interface.name, rule.in_interface.negated)
            if rule.in_interface
            else None,
            in_unknown=rule.in_interface.negated if rule.in_interface and rule.in_interface.name == "lo" else None,
            out_interface=interface_test(rule.out_interface.name, rule.out_interface.negated)
            if rule.out_interface
            else None,
            inert=not actions and meaning.looks_up is None and meaning.remembers is None,
        )

    def met(self, rule: Rule) -> Met:
        """A rule as packets meet it."""
        jumps = rule.target is not None and self.ruleset.chain(rule.table, rule.target) is not None
        proxied = is_proxy_chain(rule.target or "")
        if jumps or proxied:
            effect = Effect.JUMP
        elif rule.target in targets.GOES_ON:
            effect = Effect.NOTHING
        else:
            effect = EFFECTS.get(rule.target, Effect.OTHER)
        return Met(
            self.ruleset.source,
            rule.line,
            rule.text,
            rule.table,
            rule.chain,
            targets.describe(rule),
            effect,
            rule.target if effect is Effect.JUMP else None,
            is_foreign(rule.chain, rule),
        )

    def _actions(self, rule: Rule, around: Surroundings) -> tuple[Action, ...]:
        match rule.target:
            case None:
                return ()
            case "ACCEPT":
                return (Accept(),)
            case "RETURN":
                return (Return(),)
            case "DROP":
                return (Drop(),)
            case "REJECT":
                return (Reject(),)
            case "MARK" | "CONNMARK":
                return (Change(targets.marking(rule)),)
            case "DNAT" | "REDIRECT":
                return (Translate(targets.translation(rule, around.network.family)),)
            case "MASQUERADE" | "SNAT":
                by_proxy = rule.chain == "KUBE-POSTROUTING"
                return (Rewrite(targets.new_sources(rule, around.network.own), by_proxy),)
            case "NOTRACK":
                return (Untrack(),)
            case "CT":
                return (Untrack(),) if "notrack" in targets.options_of(rule) else (Change(_templated),)
            case name if self.ruleset.chain(rule.table, name) is not None:
                return (Jump(name, rule.goto),)
            case name if name in targets.GOES_ON or is_proxy_chain(name):
                # A chain of kube-proxy that the dump lacks has no rules. (No kernel lets a chain go that is jumped to.)
                return () if name in targets.GOES_ON else (Change(_unchanged),)
            case _:
                return (Unclear(),)


def _unchanged(_: Flow) -> bool:
    return True


def _templated(flow: Flow) -> bool:
    """What the connection is to be like is kept with the packet, and keeps it from being left untracked (xt_ct_target)."""
    flow.templated = True
    return True


def _addresses(match: NetworkMatch | None, family: Family) -> AddressSet | None:
    if match is None:
        return None
    chosen = AddressSet.of(family, match.networks)
    return chosen.complement() if match.negated else chosen


def _exact_port(rule: Rule) -> int | None:
    for option in rule.matches:
        if option.name == "dport" and not option.negated and option.module in ("tcp", "udp", "sctp"):
            ranges = read_ports(option.values[0]) if option.values else None
            return ranges[0][0] if ranges is not None and len(ranges) == 1 and ranges[0][0] == ranges[0][1] else None
    return None
