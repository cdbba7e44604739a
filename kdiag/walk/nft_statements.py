"""What nftables statements do to a packet: verdicts, look-ups, translations, marks.

Sources: nft(8) 1.0.6 and the kernel's net/netfilter/nft_*.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from kdiag.model import nft
from kdiag.model.addresses import AddressSet, Family, parse_address
from kdiag.model.dataplane import Effect, Met
from kdiag.walk.actions import Accept, Action, Change, Drop, Jump, Return, Rewrite, Translate, Unclear, Way
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import Surroundings, Test
from kdiag.walk.nft_sets import Held, TableSets
from kdiag.walk.nft_values import FULL, Lack, number_of, parts_of
from kdiag.walk.nft_words import key_text, socket_words, table_name, verdict_words
from kdiag.walk.targets import LOOPBACK

Ways = Callable[[Flow], Sequence[Way] | None]
MakeWay = Callable[[nft.NftRule, str, Held, AddressSet | None, float], Way]
Place = Callable[[Flow, int | None], tuple[int, int] | None]
Meets = Callable[[nft.NftRule, str, Effect, str | None], Met]
"""A rule as packets meet it: the rule, what it does in words, to what effect, and the chain that it leads to."""
NAMES = {Family.IPV4: "ip", Family.IPV6: "ip6"}


class Deeds:
    """Statements of one table as actions of the walker. `by_proxy` is True in kube-proxy's own table."""

    def __init__(self, sets: TableSets, around: Surroundings, meets: Meets, *, by_proxy: bool) -> None:
        self._sets = sets
        self._around = around
        self._family = around.network.family
        self._meets = meets
        self._by_proxy = by_proxy

    def verdicts(self, rule: nft.NftRule, statement: nft.VerdictMap) -> Ways:
        """`KEY vmap MAP`."""
        return self._ways(rule, statement.key, statement.table, self._verdict_way)

    def assign(self, statement: nft.Assign) -> tuple[Action, ...]:
        """`meta mark set …` and the like."""
        match statement.target:
            case nft.Meta(key="mark"):
                return (Change(_set_mark(number_of(statement.value, self._around), "mark")),)
            case nft.Ct(key="mark"):
                return (Change(_set_mark(number_of(statement.value, self._around), "connmark")),)
            case nft.Meta() | nft.Ct():
                # Priorities, trace flags, helpers, labels, zones: the way stays the same.
                return ()
            case _:
                return (Unclear(),)

    def has_value(self, value: nft.Expression) -> Test:
        """Whether a packet has what a mark is set to: without a connection the rule ends there (nft_ct_get_eval)."""
        read = number_of(value, self._around)
        return lambda flow: read(flow) is not Lack.ABSENT

    def is_for_this_family(self, statement: nft.Translate | nft.Reject) -> bool:
        """False for what a rule of an inet table does to the other family alone: it then asks for that family too."""
        if isinstance(statement, nft.Translate):
            return statement.family in (None, NAMES[self._family])
        return statement.type != ("icmpv6" if self._family is Family.IPV4 else "icmp")

    def translate(self, rule: nft.NftRule, statement: nft.Translate) -> tuple[tuple[Action, ...], Ways | None]:
        """`dnat`, `redirect`, `masquerade`, `snat`: what it does, or where it looks that up."""
        match statement.kind:
            case "masquerade":
                own = self._around.network.own
                # Over lo IPv6 may pick the loopback address, IPv4 does not (scope host).
                loopback = (
                    AddressSet.nothing(own.family) if own.family is Family.IPV4 else AddressSet.span(own.family, 1, 1)
                )
                return (Rewrite(own | loopback, self._by_proxy),), None
            case "snat":
                address = _address(statement.address, self._family)
                everything = AddressSet.everything(self._family)
                chosen = everything if address is None else AddressSet.span(self._family, address, address)
                return (Rewrite(chosen, self._by_proxy),), None
            case "redirect":
                return (Translate(_redirect(statement.port)),), None
            case "dnat":
                if isinstance(statement.address, nft.MapLookup):
                    lookup = statement.address
                    return (), self._ways(rule, lookup.key, lookup.table, self._place_way(statement.port))
                return (Translate(self._place(statement.address, statement.port)),), None
            case _:
                return (Unclear(),), None

    # -- look-ups ----------------------------------------------------------------------------------------------------

    def _ways(
        self, rule: nft.NftRule, key: nft.Expression, table: nft.SetReference | nft.MapLiteral, way: MakeWay
    ) -> Ways:
        """What a look-up may do for a flow: by a random number, or by the flow's own key."""
        if isinstance(key, nft.Numgen):
            chances = self._chances(key, table)
            if chances is None:
                return _not_known
            chosen = tuple(
                way(rule, f"number {text} of {key.modulus}", held, None, share) for text, held, share in chances
            )
            return lambda flow: chosen
        parts = parts_of(key, self._around)
        index = self._sets.index(parts, key, table)
        if index is None:
            return _not_known
        named = table_name(table)

        def find(flow: Flow) -> Sequence[Way] | None:
            hits = index.find(flow)
            if hits is None:
                return None
            # An element for some sources hides no other: their keys are disjoint.
            found = [way(rule, f"{named} {key_text(hit.key)}", hit.held, hit.sources, 1.0) for hit in hits]
            return found if all(hit.certain for hit in hits) else [replace(item, certain=False) for item in found]

        return find

    def _chances(
        self, key: nft.Numgen, table: nft.SetReference | nft.MapLiteral
    ) -> list[tuple[str, Held, float]] | None:
        """Each element of a map that is asked with a random number, and its share."""
        pairs = self._sets.pairs(table)
        if pairs is None or key.modulus < 1:
            return None
        part = parts_of(nft.Value(0), self._around)[0]
        chances = []
        left = 1.0
        default: Held = None
        for element, held in pairs:
            if element == nft.Wildcard():
                default = held
                continue
            named = part.constant(element)
            if named is None or isinstance(named[0], str):
                return None
            low, high = max(named[0][0], key.offset), min(named[0][1], key.offset + key.modulus - 1)
            if low <= high:
                share = (high - low + 1) / key.modulus
                left -= share
                chances.append((key_text(element), held, share))
        if default is not None and left > 0:
            chances.append(("*", default, left))
        return chances

    def _verdict_way(self, rule: nft.NftRule, where: str, held: Held, sources: AddressSet | None, share: float) -> Way:
        verdict = held if isinstance(held, nft.Verdict) else nft.Verdict("?")
        effect, words, leads_to = verdict_words(verdict)
        met = self._meets(rule, f"{where}: {words}", effect, leads_to)
        return Way(met, tuple(verdict_actions(verdict)), sources, share)

    def _place_way(self, port: nft.Expression | None) -> MakeWay:
        def way(rule: nft.NftRule, where: str, held: Held, sources: AddressSet | None, share: float) -> Way:
            address = None if isinstance(held, nft.Verdict) else held
            words = f"dnat to {socket_words(address, port)} ({where})"
            met = self._meets(rule, words, Effect.TRANSLATE, None)
            place = self._place(address if address is not None else nft.UnknownExpression("?"), port)
            return Way(met, (Translate(place),), sources, share)

        return way

    def _place(self, address: nft.Expression | None, port: nft.Expression | None) -> Place:
        if isinstance(address, nft.Concat) and len(address.parts) == 2:
            address, port = address.parts
        known = None if address is None else _address(address, self._family)
        number = None if port is None else _port(port)

        def place(flow: Flow, _: int | None) -> tuple[int, int] | None:
            if (address is not None and known is None) or (port is not None and number is None):
                return None
            return (flow.destination if known is None else known, flow.port if number is None else number)

        return place


def verdict_actions(verdict: nft.Verdict) -> list[Action]:
    """What a verdict does; one that is not known may do anything."""
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


def _not_known(_: Flow) -> Sequence[Way] | None:
    return None


def _redirect(port: nft.Expression | None) -> Place:
    def place(flow: Flow, primary: int | None) -> tuple[int, int] | None:
        wanted = flow.port if port is None else _port(port)
        address = LOOPBACK[flow.family] if flow.local_origin else primary
        return None if address is None or wanted is None else (address, wanted)

    return place


def _set_mark(read: Callable[[Flow], object], name: str) -> Callable[[Flow], bool]:
    def apply(flow: Flow) -> bool:
        value = read(flow)
        if not isinstance(value, int):
            return False
        if name == "mark":
            flow.mark = value & FULL
        elif flow.seen and not flow.untracked:
            flow.connmark = value & FULL
        return True

    return apply


def _address(expression: nft.Expression | None, family: Family) -> int | None:
    if not isinstance(expression, nft.Value) or not isinstance(expression.value, str):
        return None
    address = parse_address(expression.value)
    return None if address is None or address.version != (4 if family is Family.IPV4 else 6) else int(address)


def _port(expression: nft.Expression) -> int | None:
    if isinstance(expression, nft.Value) and isinstance(expression.value, int) and 0 < expression.value < 65536:
        return expression.value
    return None
