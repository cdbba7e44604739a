"""nftables rules made ready for walking.

A rule is a list of statements that are worked off in order: what asks something of the packet ends the rule if it does
not hold. Sources: nft(8) 1.0.6 and the kernel's net/netfilter/nft_*.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct, field

from kdiag.model import nft
from kdiag.model.addresses import Family
from kdiag.model.dataplane import Effect, Met
from kdiag.walk.actions import Action, Continue, Reject, Remember, Unclear, Untrack
from kdiag.walk.meaning import Surroundings, cannot_tell, never
from kdiag.walk.nft_matches import Asked, add_match
from kdiag.walk.nft_sets import TableSets
from kdiag.walk.nft_statements import Deeds, Ways, verdict_actions
from kdiag.walk.nft_words import rule_text, rule_words
from kdiag.walk.ownership import NFT_TABLE, is_foreign_in_nft
from kdiag.walk.program import CompiledChain, CompiledRule, Hooked, index_chain

FAMILIES = {Family.IPV4: ("ip", "inet"), Family.IPV6: ("ip6", "inet")}
KINDS = {"nat": "nat", "filter": "filter", "route": "mangle"}
HOOK_NAMES = {"prerouting", "input", "forward", "output", "postrouting"}


class NftSpace:
    """The tables of one family in `nft list ruleset`; those in `leave_out` are read from elsewhere."""

    def __init__(self, ruleset: nft.NftRuleset, family: Family, leave_out: frozenset[str] = frozenset()) -> None:
        self.ruleset = ruleset
        # The base chains of a dormant table are not hooked in.
        self._tables = {
            f"{table.family} {table.name}": table
            for table in ruleset.tables
            if table.family in FAMILIES[family]
            and not (table.family != "inet" and table.name in leave_out)
            and "dormant" not in table.flags
        }
        self._compilers: dict[str, _TableCompiler] = {}

    @property
    def rule_count(self) -> int:
        """Rules in all chains."""
        return sum(len(chain.rules) for table in self._tables.values() for chain in table.chains.values())

    def hooked(self) -> Iterable[Hooked]:
        """The base chains."""
        for label, table in self._tables.items():
            for chain in table.chains.values():
                if chain.hook is not None and chain.hook.hook in HOOK_NAMES:
                    kind = KINDS.get(chain.hook.type, "filter")
                    yield Hooked(chain.hook.hook.upper(), chain.hook.priority, kind, label, chain.name)

    def compile(self, table: str, chain: str, around: Surroundings, number: Callable[[], int]) -> CompiledChain | None:
        """A chain made ready."""
        found = self._tables.get(table)
        declared = found.chains.get(chain) if found else None
        if found is None or declared is None:
            return None
        compiler = self._compilers.get(table)
        if compiler is None:
            compiler = self._compilers[table] = _TableCompiler(self.ruleset.source, table, found, around)
        rules = [compiler.rule(rule, order, number) for order, rule in enumerate(declared.rules)]
        policy = declared.policy.upper() if declared.policy else None
        return index_chain(rules, policy or ("ACCEPT" if declared.hook else None), compiler.end(declared))


class _Draft(Struct):
    """A rule on its way to being compiled: what it asks so far, and what it does then."""

    asked: Asked = field(default_factory=Asked)
    actions: list[Action] = field(default_factory=list)
    ways: Ways | None = None
    ended: bool = False


class _TableCompiler:
    """Compiles the chains of one table."""

    def __init__(self, source: str, label: str, table: nft.NftTable, around: Surroundings) -> None:
        self._source = source
        self._label = label
        self._around = around
        self._by_proxy = table.name == NFT_TABLE
        self._sets = TableSets(table, around)
        self._deeds = Deeds(self._sets, around, self._meets, by_proxy=self._by_proxy)

    def end(self, chain: nft.NftChain) -> Met | None:
        """The policy of a base chain as packets meet it."""
        if chain.hook is None:
            return None
        policy = chain.policy or "accept"
        return Met(
            self._source,
            chain.line,
            f"chain {chain.name} {{ type {chain.hook.type} hook {chain.hook.hook} priority {chain.hook.priority}; "
            f"policy {policy}; }}",
            self._label,
            chain.name,
            f"policy {policy}",
            Effect.DROP if policy == "drop" else Effect.ACCEPT,
            foreign=not self._by_proxy or policy == "drop",
            is_policy=True,
        )

    def rule(self, rule: nft.NftRule, order: int, number: Callable[[], int]) -> CompiledRule:
        """One rule."""
        return self._compile(rule, rule.statements, order, number)

    def _compile(
        self, rule: nft.NftRule, statements: tuple[nft.Statement, ...], order: int, number: Callable[[], int]
    ) -> CompiledRule:
        draft = _Draft()
        for at, statement in enumerate(statements):
            if draft.ended:
                break
            if draft.actions and _asks(statement):
                # It asks after something was done: that is a rule of its own.
                draft.actions.append(Continue(self._compile(rule, statements[at:], order, number)))
                break
            self._add(draft, rule, statement)
        asked, meaning = draft.asked, draft.asked.meaning
        effect, words, leads_to = rule_words(rule)
        return CompiledRule(
            met=self._meets(rule, words, effect, leads_to),
            number=number(),
            order=order,
            meaning=meaning,
            actions=tuple(draft.actions),
            ways=draft.ways,
            destinations=asked.destinations,
            sources=meaning.sources,
            narrows=meaning.narrows,
            in_interface=asked.in_interface,
            in_unknown=asked.in_unknown,
            out_interface=asked.out_interface,
            inert=not draft.actions and draft.ways is None and meaning.looks_up is None,
        )

    def _meets(self, rule: nft.NftRule, words: str, effect: Effect, leads_to: str | None) -> Met:
        foreign = not self._by_proxy or is_foreign_in_nft(rule.chain, effect)
        text = rule_text(rule)
        return Met(self._source, rule.line, text, self._label, rule.chain, words, effect, leads_to, foreign)

    def _add(self, draft: _Draft, rule: nft.NftRule, statement: nft.Statement) -> None:
        tests = draft.asked.meaning.tests
        match statement:
            case nft.Match():
                add_match(draft.asked, statement, self._sets, self._around)
            case nft.Verdict():
                draft.actions += verdict_actions(statement)
                draft.ended = statement.kind != "continue"
            case nft.VerdictMap():
                draft.ways = self._deeds.verdicts(rule, statement)
                draft.ended = True
            case nft.Assign():
                if _may_lack(statement.value):
                    tests.append(self._deeds.has_value(statement.value))
                draft.actions += self._deeds.assign(statement)
            case nft.Translate():
                if not self._deeds.is_for_this_family(statement):
                    tests.append(never)
                actions, draft.ways = self._deeds.translate(rule, statement)
                draft.actions += actions
                draft.ended = True
            case nft.Reject(type=kind):
                if not self._deeds.is_for_this_family(statement):
                    tests.append(never)
                elif kind == "tcp reset":
                    tests.append(lambda flow: flow.protocol == "tcp")
                draft.actions.append(Reject())
                draft.ended = True
            case nft.SetChange(name=name):
                draft.actions.append(Remember(name))
            case nft.Untrack():
                draft.actions.append(Untrack())
            case nft.Limit():
                tests.append(cannot_tell)
            case nft.Aside():
                pass
            case nft.UnknownStatement():
                tests.append(cannot_tell)
                if rule.statements[-1] is statement:
                    draft.actions.append(Unclear())


def _asks(statement: nft.Statement) -> bool:
    """True for what may not hold, so that the rule ends there: `dnat ip to …` asks for IPv4, `reject with tcp reset` for
    TCP, `meta mark set ct mark` for a connection."""
    match statement:
        case nft.Match() | nft.VerdictMap() | nft.Limit() | nft.UnknownStatement():
            return True
        case nft.Assign(value=value):
            return _may_lack(value)
        case nft.Translate(address=address, family=family):
            return isinstance(address, nft.MapLookup) or family is not None
        case nft.Reject(type=kind):
            return kind != "icmpx"
        case _:
            return False


def _may_lack(value: nft.Expression) -> bool:
    """True if there are packets that have no such thing."""
    match value:
        case nft.Ct():
            return True
        case nft.Binary(left=left, right=right):
            return _may_lack(left) or _may_lack(right)
        case _:
            return False
