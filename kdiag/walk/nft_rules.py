"""nftables rules made ready for walking.

A rule is a list of statements that are worked off in order: what asks something of the packet ends the rule if it does
not hold. Sources: nft(8) 1.0.6 and the kernel's net/netfilter/nft_*.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kdiag.model import nft
from kdiag.model.addresses import AddressSet, Family, parse_address
from kdiag.model.dataplane import Effect, Met
from kdiag.walk.actions import (
    Accept,
    Action,
    Change,
    Continue,
    Drop,
    Jump,
    Reject,
    Remember,
    Return,
    Rewrite,
    Translate,
    Unclear,
    Untrack,
    Way,
)
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import Compiled, Surroundings, Test, cannot_tell, negate
from kdiag.walk.nft_index import Index
from kdiag.walk.nft_values import FULL, Lack, Part, number_of, parts_of
from kdiag.walk.ownership import NFT_TABLE, is_foreign_in_nft
from kdiag.walk.program import CompiledChain, CompiledRule, Hooked, index_chain, interface_test
from kdiag.walk.targets import LOOPBACK

FAMILIES = {Family.IPV4: ("ip", "inet"), Family.IPV6: ("ip6", "inet")}
KINDS = {"nat": "nat", "filter": "filter", "route": "mangle"}
HOOK_NAMES = {"prerouting", "input", "forward", "output", "postrouting"}
# What iptables-nft keeps its rules in: `iptables-save` prints them in full, `nft list ruleset` does not.
IPTABLES_TABLES = frozenset({"raw", "mangle", "nat", "filter", "security"})
Held = nft.Expression | nft.Verdict | None
Elements = Index[Held]
TRANSLATIONS = {"dnat": Effect.TRANSLATE, "redirect": Effect.TRANSLATE, "snat": Effect.REWRITE}


class NftSpace:
    """The tables of one family in `nft list ruleset`; those in `leave_out` are read from elsewhere."""

    def __init__(self, ruleset: nft.NftRuleset, family: Family, leave_out: frozenset[str] = frozenset()) -> None:
        self.ruleset = ruleset
        self._tables = {
            f"{table.family} {table.name}": table
            for table in ruleset.tables
            if table.family in FAMILIES[family] and not (table.family != "inet" and table.name in leave_out)
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


@dataclass(slots=True)
class _Draft:
    """A rule on its way to being compiled: what it asks so far, and what it does then."""

    meaning: Compiled = field(default_factory=Compiled)
    actions: list[Action] = field(default_factory=list)
    ways: Callable[[Flow], Sequence[Way] | None] | None = None
    destinations: tuple[tuple[int, int], ...] | None = None
    in_interface: Callable[[str], bool] | None = None
    in_unknown: bool | None = None
    out_interface: Callable[[str], bool] | None = None
    ended: bool = False


class _TableCompiler:
    """Compiles the chains of one table."""

    def __init__(self, source: str, label: str, table: nft.NftTable, around: Surroundings) -> None:
        self._source = source
        self._label = label
        self._table = table
        self._around = around
        self._family = around.network.family
        self._proxys = table.name == NFT_TABLE
        self._indexes: dict[tuple[str, tuple[str, ...]], Elements] = {}
        # Sets that rules write into hold clients that came before: one not seen before is in none of them.
        self._written = {
            statement.name
            for chain in table.chains.values()
            for rule in chain.rules
            for statement in rule.statements
            if isinstance(statement, nft.SetChange)
        }

    # -- rules -------------------------------------------------------------------------------------------------------

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
            foreign=not self._proxys or policy == "drop",
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
            asks = isinstance(statement, nft.Match | nft.VerdictMap | nft.Limit) or _has_choice(statement)
            if asks and draft.actions:
                # It asks after something was done: that is a rule of its own.
                draft.actions.append(Continue(self._compile(rule, statements[at:], order, number)))
                break
            self._add(draft, rule, statement)
        meaning = draft.meaning
        return CompiledRule(
            met=self._met(rule, draft),
            number=number(),
            order=order,
            meaning=meaning,
            actions=tuple(draft.actions),
            ways=draft.ways,
            destinations=draft.destinations,
            sources=meaning.sources,
            narrows=meaning.narrows,
            in_interface=draft.in_interface,
            in_unknown=draft.in_unknown,
            out_interface=draft.out_interface,
            inert=not draft.actions and draft.ways is None and meaning.looks_up is None,
        )

    def _met(self, rule: nft.NftRule, draft: _Draft) -> Met:
        effect, action, leads_to = self._words(rule, draft)
        return self._meets(rule.line, _text(rule), rule.chain, action, effect, leads_to)

    def _meets(self, line: int, text: str, chain: str, action: str, effect: Effect, leads_to: str | None) -> Met:
        foreign = not self._proxys or is_foreign_in_nft(chain, effect)
        return Met(self._source, line, text, self._label, chain, action, effect, leads_to, foreign)

    def _words(self, rule: nft.NftRule, draft: _Draft) -> tuple[Effect, str, str | None]:
        for statement in reversed(rule.statements):
            match statement:
                case nft.Verdict():
                    return _verdict_words(statement)
                case nft.VerdictMap(table=table):
                    return Effect.JUMP, f"look-up in {_name(table)}", None
                case nft.Translate(kind="masquerade"):
                    return Effect.REWRITE, "masquerade", None
                case nft.Translate(kind=kind):
                    return TRANSLATIONS.get(kind, Effect.OTHER), f"{kind} to {_place_words(statement)}", None
                case nft.Reject():
                    return Effect.REJECT, "reject", None
                case nft.Untrack():
                    return Effect.UNTRACK, "notrack", None
                case nft.Assign():
                    return Effect.MARK, "set mark", None
                case nft.UnknownStatement():
                    return Effect.OTHER, "what kdiag does not know", None
                case _:
                    continue
        return Effect.NOTHING, "no verdict", None

    # -- statements --------------------------------------------------------------------------------------------------

    def _add(self, draft: _Draft, rule: nft.NftRule, statement: nft.Statement) -> None:
        match statement:
            case nft.Match():
                self._match(draft, statement)
            case nft.Verdict():
                draft.actions += _verdict_actions(statement)
                draft.ended = statement.kind != "continue"
            case nft.VerdictMap(key=key, table=table):
                draft.ways = self._ways(rule, key, table, self._verdict_way)
                draft.ended = True
            case nft.Assign():
                action = self._assign(statement)
                if action is not None:
                    draft.actions.append(action)
            case nft.Translate():
                self._translate(draft, rule, statement)
                draft.ended = True
            case nft.Reject():
                draft.actions.append(Reject())
                draft.ended = True
            case nft.SetChange(name=name):
                draft.actions.append(Remember(name))
            case nft.Untrack():
                draft.actions.append(Untrack())
            case nft.Limit():
                draft.meaning.tests.append(cannot_tell)
            case nft.Aside():
                pass
            case nft.UnknownStatement():
                draft.meaning.tests.append(cannot_tell)
                if rule.statements[-1] is statement:
                    draft.actions.append(Unclear())

    # -- matches -----------------------------------------------------------------------------------------------------

    def _match(self, draft: _Draft, match: nft.Match) -> None:
        meaning = draft.meaning
        negated = match.operator == "!="
        if isinstance(match.left, nft.Meta) and match.left.key in ("iif", "iifname", "oif", "oifname"):
            self._interface(draft, match.left.key, match.right, negated)
            return
        if isinstance(match.left, nft.Ct) and match.left.key == "status":
            meaning.tests.append(negate(_connection_status(match.right), negated))
            return
        if match.operator in ("<", ">", "<=", ">="):
            meaning.tests.append(self._comparison(match))
            return
        if isinstance(match.right, nft.SetReference) and match.right.name in self._written and not negated:
            meaning.looks_up = (match.right.name, self._timeout(match.right.name))
            return
        parts = parts_of(match.left, self._around)
        index = self._index(parts, match.left, match.right)
        if index is None:
            meaning.tests.append(cannot_tell)
            return
        if index.asks_source:
            self._by_source(draft, parts, index, negated)
            return
        if isinstance(match.left, nft.Payload) and match.left.field == "daddr" and not negated:
            single = parts[0].constant(match.right)
            if single is not None and len(single) == 1 and not isinstance(single[0], str):
                draft.destinations = (single[0],) if draft.destinations is None else draft.destinations
        meaning.tests.append(negate(_in_index(index), negated))

    def _timeout(self, name: str) -> int:
        found = self._table.sets.get(name)
        return (found.timeout_s or 0) if found else 0

    def _by_source(self, draft: _Draft, parts: tuple[Part, ...], index: Elements, negated: bool) -> None:
        def narrows(flow: Flow) -> AddressSet | None:
            found = index.covers(flow)
            if not isinstance(found, AddressSet):
                # ABSENT and UNKNOWN parts end as an empty or an unknown set.
                return None if found is None else AddressSet.nothing(flow.family)
            return found.complement() if negated else found

        if len(parts) == 1 and not index.vague:
            chosen = index.everything()
            draft.meaning.narrow(chosen.complement() if negated else chosen)
            return
        before = draft.meaning.narrows
        draft.meaning.narrows = narrows if before is None else _both(before, narrows)

    def _interface(self, draft: _Draft, key: str, right: nft.Expression, negated: bool) -> None:
        names = self._names(right)
        if names is None:
            draft.meaning.tests.append(cannot_tell)
            return
        tests = [interface_test(name[:-1] + "+" if name.endswith("*") else name, False) for name in names]

        def test(known: str) -> bool:
            return any(item(known) for item in tests) is not negated

        if key.startswith("iif"):
            earlier = draft.in_interface
            draft.in_interface = test if earlier is None else lambda known: earlier(known) and test(known)
            draft.in_unknown = negated if names == ["lo"] else None
        else:
            before = draft.out_interface
            draft.out_interface = test if before is None else lambda known: before(known) and test(known)

    def _names(self, right: nft.Expression) -> list[str] | None:
        elements: Iterable[nft.Expression]
        match right:
            case nft.SetLiteral(elements=elements):
                pass
            case nft.SetReference(name=name):
                found = self._table.sets.get(name)
                if found is None:
                    return None
                elements = [key for key, _ in found.elements]
            case _:
                elements = (right,)
        names = [str(item.value) for item in elements if isinstance(item, nft.Value)]
        return names if len(names) == len(list(elements)) else None

    def _comparison(self, match: nft.Match) -> Test:
        left, right = number_of(match.left, self._around), number_of(match.right, self._around)
        operator = match.operator

        def test(flow: Flow) -> bool | None:
            one, other = left(flow), right(flow)
            if Lack.ABSENT in (one, other):
                return False
            if not isinstance(one, int) or not isinstance(other, int):
                return None
            return {"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}[operator]

        return test

    def _index(self, parts: tuple[Part, ...], left: nft.Expression, right: nft.Expression) -> Elements | None:
        match right:
            case nft.SetReference(name=name):
                return self._named_index(parts, left, name)
            case nft.SetLiteral(elements=elements):
                return Index(self._family, parts, ((item, None) for item in elements))
            case nft.MapLiteral(elements=pairs):
                return Index(self._family, parts, pairs)
            case _:
                return Index(self._family, parts, ((right, None),))

    def _named_index(self, parts: tuple[Part, ...], left: nft.Expression, name: str) -> Elements | None:
        found = self._table.sets.get(name)
        if found is None or not found.listed:
            return None
        key = (name, (repr(left),))
        if key not in self._indexes:
            self._indexes[key] = Index(self._family, parts, found.elements)
        return self._indexes[key]

    # -- what rules do -----------------------------------------------------------------------------------------------

    def _ways(
        self,
        rule: nft.NftRule,
        key: nft.Expression,
        table: nft.SetReference | nft.MapLiteral,
        way: Callable[[nft.NftRule, str, Held, AddressSet | None, float], Way],
    ) -> Callable[[Flow], Sequence[Way] | None]:
        """What a look-up may do for a flow: by a random number, or by the flow's own key."""
        if isinstance(key, nft.Numgen):
            chances = self._chances(key, table)
            if chances is None:
                return lambda flow: None
            chosen = tuple(
                way(rule, f"number {text} of {key.modulus}", held, None, share) for text, held, share in chances
            )
            return lambda flow: chosen
        parts = parts_of(key, self._around)
        index = self._index(parts, key, table)
        if index is None:
            return lambda flow: None
        named = _name(table)

        def find(flow: Flow) -> Sequence[Way] | None:
            hits = index.find(flow)
            if hits is None:
                return None
            # An element for some sources hides no other: their keys are disjoint.
            return [way(rule, f"{named} {key_text(hit.key)}", hit.held, hit.sources, 1.0) for hit in hits]

        return find

    def _chances(
        self, key: nft.Numgen, table: nft.SetReference | nft.MapLiteral
    ) -> list[tuple[str, Held, float]] | None:
        """Each element of a map that is asked with a random number, and its share."""
        if isinstance(table, nft.SetReference):
            found = self._table.sets.get(table.name)
            if found is None or not found.listed:
                return None
            pairs: Sequence[tuple[nft.Expression, Held]] = found.elements
        else:
            pairs = table.elements
        if key.modulus < 1:
            return None
        part = parts_of(nft.Value(0), self._around)[0]
        chances = []
        for element, held in pairs:
            named = part.constant(element)
            if named is None or isinstance(named[0], str):
                return None
            low, high = max(named[0][0], key.offset), min(named[0][1], key.offset + key.modulus - 1)
            if low <= high:
                chances.append((key_text(element), held, (high - low + 1) / key.modulus))
        return chances

    def _verdict_way(
        self,
        rule: nft.NftRule,
        where: str,
        held: Held,
        sources: AddressSet | None,
        share: float,
    ) -> Way:
        verdict = held if isinstance(held, nft.Verdict) else nft.Verdict("?")
        effect, words, leads_to = _verdict_words(verdict)
        met = self._meets(rule.line, _text(rule), rule.chain, f"{where}: {words}", effect, leads_to)
        return Way(met, tuple(_verdict_actions(verdict)), sources, share)

    def _assign(self, statement: nft.Assign) -> Action | None:
        match statement.target:
            case nft.Meta(key="mark"):
                return Change(_set_mark(number_of(statement.value, self._around), "mark"))
            case nft.Ct(key="mark"):
                return Change(_set_mark(number_of(statement.value, self._around), "connmark"))
            case nft.Meta() | nft.Ct():
                # Priorities, trace flags, helpers, labels, zones: the way stays the same.
                return None
            case _:
                return Unclear()

    def _translate(self, draft: _Draft, rule: nft.NftRule, statement: nft.Translate) -> None:
        network = self._around.network
        if statement.kind == "masquerade":
            own = network.own
            # Over lo IPv6 may pick the loopback address, IPv4 does not (scope host).
            loopback = (
                AddressSet.nothing(own.family) if own.family is Family.IPV4 else AddressSet.span(own.family, 1, 1)
            )
            draft.actions.append(Rewrite(own | loopback, self._proxys))
            return
        if statement.kind == "snat":
            address = _address(statement.address, self._family)
            everything = AddressSet.everything(self._family)
            chosen = everything if address is None else AddressSet.span(self._family, address, address)
            draft.actions.append(Rewrite(chosen, self._proxys))
            return
        if statement.kind == "redirect":
            draft.actions.append(Translate(self._redirect(statement.port)))
            return
        if statement.kind != "dnat":
            draft.actions.append(Unclear())
            return
        if isinstance(statement.address, nft.MapLookup):
            lookup = statement.address
            draft.ways = self._ways(rule, lookup.key, lookup.table, self._place_way(statement.port))
            return
        draft.actions.append(Translate(self._place(statement.address, statement.port)))

    def _redirect(self, port: nft.Expression | None) -> Callable[[Flow, int | None], tuple[int, int] | None]:
        def place(flow: Flow, primary: int | None) -> tuple[int, int] | None:
            wanted = flow.port if port is None else _port(port)
            address = LOOPBACK[flow.family] if flow.local_origin else primary
            return None if address is None or wanted is None else (address, wanted)

        return place

    def _place(
        self, address: nft.Expression | None, port: nft.Expression | None
    ) -> Callable[[Flow, int | None], tuple[int, int] | None]:
        if isinstance(address, nft.Concat) and len(address.parts) == 2:
            address, port = address.parts
        known = None if address is None else _address(address, self._family)
        number = None if port is None else _port(port)

        def place(flow: Flow, _: int | None) -> tuple[int, int] | None:
            if (address is not None and known is None) or (port is not None and number is None):
                return None
            return (flow.destination if known is None else known, flow.port if number is None else number)

        return place

    def _place_way(
        self, port: nft.Expression | None
    ) -> Callable[[nft.NftRule, str, Held, AddressSet | None, float], Way]:
        def way(
            rule: nft.NftRule,
            where: str,
            held: Held,
            sources: AddressSet | None,
            share: float,
        ) -> Way:
            address = None if isinstance(held, nft.Verdict) else held
            words = f"dnat to {_socket_words(address, port)} ({where})"
            met = self._meets(rule.line, _text(rule), rule.chain, words, Effect.TRANSLATE, None)
            place = self._place(address if address is not None else nft.UnknownExpression("?"), port)
            return Way(met, (Translate(place),), sources, share)

        return way


# -- small readings ----------------------------------------------------------------------------------------------------


def _has_choice(statement: nft.Statement) -> bool:
    return isinstance(statement, nft.Translate) and isinstance(statement.address, nft.MapLookup)


def _both(
    one: Callable[[Flow], AddressSet | None], other: Callable[[Flow], AddressSet | None]
) -> Callable[[Flow], AddressSet | None]:
    def narrows(flow: Flow) -> AddressSet | None:
        first, second = one(flow), other(flow)
        return None if first is None or second is None else first & second

    return narrows


def _in_index(index: Elements) -> Test:
    def test(flow: Flow) -> bool | None:
        found = index.covers(flow)
        return found if found is None or isinstance(found, bool) else bool(found)

    return test


def _connection_status(right: nft.Expression) -> Test:
    elements = right.elements if isinstance(right, nft.SetLiteral) else (right,)
    wanted = {str(item.value) for item in elements if isinstance(item, nft.Value)}

    def test(flow: Flow) -> bool | None:
        # A translation that changes nothing does not count (nf_nat_setup_info compares the tuples).
        changed = (flow.destination, flow.port) != (flow.original_destination, flow.original_port)
        if "dnat" in wanted and changed and not flow.untracked:
            return True
        return None if "snat" in wanted and flow.rewritten is not None else False

    return test


def _set_mark(read: Callable[[Flow], object], name: str) -> Callable[[Flow], bool]:
    def apply(flow: Flow) -> bool:
        value = read(flow)
        if not isinstance(value, int):
            return False
        if name == "mark":
            flow.mark = value & FULL
        elif not flow.untracked:
            flow.connmark = value & FULL
        return True

    return apply


def _verdict_actions(verdict: nft.Verdict) -> list[Action]:
    match verdict.kind, verdict.chain:
        case "accept", _:
            return [Accept()]
        case "drop", _:
            return [Drop()]
        case "return", _:
            return [Return()]
        case "continue", _:
            return []
        case (("jump" | "goto"), str(chain)):
            return [Jump(chain, verdict.kind == "goto")]
        case _:
            return [Unclear()]


def _verdict_words(verdict: nft.Verdict) -> tuple[Effect, str, str | None]:
    match verdict.kind:
        case "accept":
            return Effect.ACCEPT, "accept", None
        case "drop":
            return Effect.DROP, "drop", None
        case "return":
            return Effect.RETURN, "return", None
        case "continue":
            return Effect.NOTHING, "continue", None
        case "jump" | "goto":
            return Effect.JUMP, f"{verdict.kind} {verdict.chain}", verdict.chain
        case kind:
            return Effect.OTHER, kind, None


def _text(rule: nft.NftRule) -> str:
    return rule.text if rule.handle is None else f"{rule.text} # handle {rule.handle}"


def _name(table: nft.SetReference | nft.MapLiteral) -> str:
    return f"map {table.name}" if isinstance(table, nft.SetReference) else "map"


def key_text(key: nft.Expression) -> str:
    """A key as nft prints it."""
    match key:
        case nft.Value(value=value):
            return str(value)
        case nft.Concat(parts=parts):
            return " . ".join(key_text(part) for part in parts)
        case nft.Prefix(address=address, length=length):
            return f"{address}/{length}"
        case nft.Span(low=low, high=high):
            return f"{key_text(low)}-{key_text(high)}"
        case nft.Wildcard():
            return "*"
        case _:
            return "?"


def _address(expression: nft.Expression | None, family: Family) -> int | None:
    if not isinstance(expression, nft.Value) or not isinstance(expression.value, str):
        return None
    address = parse_address(expression.value)
    return None if address is None else int(address)


def _port(expression: nft.Expression) -> int | None:
    if isinstance(expression, nft.Value) and isinstance(expression.value, int) and 0 < expression.value < 65536:
        return expression.value
    return None


def _socket_words(address: nft.Expression | None, port: nft.Expression | None) -> str:
    if isinstance(address, nft.Concat) and len(address.parts) == 2:
        address, port = address.parts
    host = "" if address is None else key_text(address)
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{key_text(port)}"


def _place_words(statement: nft.Translate) -> str:
    if isinstance(statement.address, nft.MapLookup):
        return _name(statement.address.table)
    return _socket_words(statement.address, statement.port)
