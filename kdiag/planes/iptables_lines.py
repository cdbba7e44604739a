"""Rules and chains of a rule set: looked up, and named as evidence."""

from __future__ import annotations

from kdiag.model.dataplane import RuleRef
from kdiag.model.rules import Chain, Rule, Ruleset


def reference(ruleset: Ruleset, rule: Rule) -> RuleRef:
    """A rule as evidence."""
    return RuleRef(source=ruleset.source, line=rule.line, text=rule.text, table=rule.table, chain=rule.chain)


def chain_reference(ruleset: Ruleset, table: str, chain: Chain) -> RuleRef:
    """The line that declares a chain, as evidence."""
    return RuleRef(
        source=ruleset.source,
        line=chain.line,
        text=f":{chain.name} {chain.policy or '-'}",
        table=table,
        chain=chain.name,
    )


def rules_of(ruleset: Ruleset, table: str, name: str) -> tuple[Rule, ...]:
    """The rules of a chain; none if there is no such chain."""
    chain = ruleset.chain(table, name)
    return chain.rules if chain else ()
