"""Service ports that are out of date, and else like others, are not walked: what their rules do is known.

Where a Service port of some kind was walked and got what it ought to get, rules of that kind do with their endpoints what is
expected. So a port with rules of that kind, but with other endpoints than the API has, gets what it ought to get if the API
had these. Nobody walked its rules, so of its ways no more is made than what is told of a difference: the lines that choose
an endpoint and translate to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.compare.telling import FATES_LIMIT, TellingRules
from kdiag.expect.dataplane import NodeContext, Spot, behaviours_with, spot_of_frontend
from kdiag.expect.endpoints import Candidate
from kdiag.expect.outlook import Outlook
from kdiag.expect.selection import Selection
from kdiag.model.addresses import AddressSet, Family, SocketAddress, socket_address
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import Behaviour, Case, ClientSet, DataPlane, Frontend, Met, Passed, Position
from kdiag.model.rules import Ruleset
from kdiag.parse.chain_merge import Span
from kdiag.parse.iptables_cut import CutDump
from kdiag.parse.iptables_forms import ENDPOINT_KIND
from kdiag.pipeline.offers import Outdated, SortedOffers
from kdiag.planes.iptables_excerpts import rules_at
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.network import NodeNetwork

_TRANSLATES = b" -j DNAT "
# What a client is remembered for does not decide about one that was never seen.
_REMEMBERED = b" --rcheck "


class OutOfDate(Struct):
    """The ports that are out of date: what is expected at their addresses, and what their rules do.

    Callers that are endpoints of the Service are not told from others: what is wrong for these is wrong for them too.
    """

    expected: dict[Frontend, Behaviour] = field(default_factory=dict)
    actual: dict[Frontend, Behaviour] = field(default_factory=dict)
    unlike: dict[Family, set[Spot]] = field(default_factory=dict)
    """What was walked for a kind of which something has to be walked all the same: a rule could not be read, or somebody
    else's decides, and is to be told."""


class _Lines(Struct):
    """The lines on the way to each endpoint that is told: by which the address is looked up, and that lead to the endpoint."""

    looked_up: list[Span]
    to: dict[SocketAddress, list[Span]]

    def all(self) -> Iterator[Span]:
        """Where they stand."""
        yield from self.looked_up
        for spans in self.to.values():
            yield from spans


def out_of_date(
    families: Iterable[SortedOffers],
    cluster: ClusterState,
    context: NodeContext,
    rulesets: Iterable[Ruleset],
    walked: DataPlane,
) -> OutOfDate:
    """Both sides of what is out of date. `rulesets` say how the dumps are to be read, `walked` what came out of the walks."""
    found = OutOfDate()
    by_source = {ruleset.source: ruleset for ruleset in rulesets}
    for offers in families:
        cut, family = offers.cut, offers.family
        if not offers.outdated or not isinstance(cut, CutDump):
            continue
        found.unlike[family] = _decided(offers, walked)
        lines = {item.offer.key: _lines_of(item, cut, family) for item in offers.out_of_date()}
        mets = _mets({span for mine in lines.values() if mine for span in mine.all()}, cut, by_source[offers.source])
        for kind, items in offers.outdated.items():
            for item in items:
                mine = lines[item.offer.key]
                if mine is None or not mets.keys() >= set(mine.all()):
                    found.unlike[family].add(offers.kinds[kind][0].spot)
                    continue
                found.expected |= _behaviours(item, item.offer.item, cluster, context, family)
                found.actual |= _on_their_ways(
                    _behaviours(item, item.rules, cluster, context, family), mine, mets, context.networks[family]
                )
    return found


def _decided(offers: SortedOffers, walked: DataPlane) -> set[Spot]:
    """The offers that were walked for something out of date, and on whose ways somebody else's rule decides."""
    firsts = {offers.kinds[kind][0].spot for kind in offers.outdated}
    rules = TellingRules()
    found = {
        spot
        for frontend, behaviour in walked.behaviours.items()
        if frontend.family is offers.family and (spot := spot_of_frontend(frontend)) in firsts
        if any(rules.are_decided(case) for case in behaviour.cases)
    }
    for kind in offers.outdated.keys() & offers.known.keys():
        if offers.known[kind].decided:
            found.add(offers.kinds[kind][0].spot)
    return found


def _lines_of(item: Outdated, cut: CutDump, family: Family) -> _Lines | None:
    """The first endpoints of the rules, and the first of those that the API does not have, are told. None if a line is not
    there."""
    names = {socket_address(family, *place): name for place, name in item.names.items()}
    stale = sorted(socket_address(family, *place) for place in item.names.keys() - item.offer.item.cluster.pairs)
    asked = [
        *[(place, item.chain, b" -j " + ENDPOINT_KIND + names[place] + b"\n") for place in sorted(names)[:FATES_LIMIT]],
        *[(place, ENDPOINT_KIND + names[place], _TRANSLATES) for place in stale[:FATES_LIMIT]],
    ]
    to: dict[SocketAddress, list[Span]] = {}
    for place, chain, words in asked:
        found = cut.line_with(chain, words, but=_REMEMBERED)
        if found is None:
            return None
        to.setdefault(place, []).append(found)
    looked_up = [line.span for line in cut.placed.at(item.offer.key) if line.links and line.table == b"nat"]
    return _Lines(looked_up, to)


def _mets(spans: Iterable[Span], cut: CutDump, ruleset: Ruleset) -> dict[Span, Met]:
    """What packets meet at lines of the nat table, as far as these can be read."""
    space = IptablesSpace(ruleset)
    return {span: space.met(rule) for span, rule in rules_at(spans, cut, ruleset)}


def _on_their_ways(
    behaviours: Mapping[Frontend, Behaviour], lines: _Lines, mets: Mapping[Span, Met], network: NodeNetwork
) -> Iterator[tuple[Frontend, Behaviour]]:
    """The behaviours with what is told of the ways, and with all clients."""
    ways = {hook: _ways(lines, mets, hook) for hook in ("PREROUTING", "OUTPUT")}
    for frontend, behaviour in behaviours.items():
        hook = "OUTPUT" if frontend.position is Position.NODE else "PREROUTING"
        cases = [_on_its_way(case, ways[hook]) for case in behaviour.cases]
        cases += _others(cases, network.clients(frontend.position, frontend.address))
        yield frontend, replace(behaviour, cases=tuple(cases))


def _ways(lines: _Lines, mets: Mapping[Span, Met], hook: str) -> dict[SocketAddress, Passed]:
    """What is told of the way to each endpoint."""
    found = {}
    for place, spans in lines.to.items():
        passed: Passed | None = None
        for depth, span in enumerate([*lines.looked_up, *spans], start=1):
            passed = Passed(passed, mets[span], hook, "nat", 1.0, depth)
        if passed is not None:
            found[place] = passed
    return found


def _on_its_way(case: Case, ways: Mapping[SocketAddress, Passed]) -> Case:
    paths = {}
    for outcome in case.outcomes:
        for fate, _ in outcome.shares:
            passed = ways.get(fate.backend) if fate.backend is not None else None
            if passed is not None:
                paths[fate] = passed
    return replace(case, paths=paths)


def _others(cases: Iterable[Case], everybody: Iterable[ClientSet]) -> Iterator[Case]:
    """The clients of whom nothing is expected: they are there all the same."""
    asked = [case.clients.addresses for case in cases]
    for clients in everybody:
        rest = clients.addresses - AddressSet.union(asked) if asked else clients.addresses
        if rest:
            yield Case(clients=ClientSet(addresses=rest, interfaces=clients.interfaces), outcomes=())


def _behaviours(
    item: Outdated, outlook: Outlook, cluster: ClusterState, context: NodeContext, family: Family
) -> dict[Frontend, Behaviour]:
    """What ought to happen at an address if these were the endpoints."""
    key = outlook.service_port
    service = cluster.service_by_key[key.service]
    port = next(one for one in service.ports if (one.name, one.protocol) == (key.port_name, key.protocol))
    candidates = [
        Candidate.ready_at(socket_address(family, address, number)) for address, number in sorted(outlook.cluster.pairs)
    ]
    selection = Selection(cluster=tuple(candidates), local=(), has_any=True)
    return dict(behaviours_with((selection,), context, family, service, port, item.offer.targets, hairpins=False))
