"""Service ports that are out of date, and else like others, are not walked: what their rules do is known.

Where a Service port of some kind was walked and got what it ought to get, rules of that kind do with their endpoints what is
expected. So a port with rules of that kind, but with other endpoints than the API has, gets what it ought to get if the API
had these. Nobody walked its rules, so of its ways no more is made than what is told of a difference: the lines that choose
an endpoint and translate to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field

from kdiag.compare.telling import FATES_LIMIT, TellingRules
from kdiag.expect.behaviour import judged
from kdiag.expect.dataplane import NodeContext, Spot, detector_of, frontends_of, spot_of_frontend
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.outlook import Outlook
from kdiag.expect.situation import LocalDetector
from kdiag.model.addresses import Family, SocketAddress, socket_address
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    DataPlane,
    Disposition,
    Fate,
    Frontend,
    Met,
    Outcome,
    Passed,
    Position,
)
from kdiag.model.rules import Ruleset
from kdiag.parse.chain_merge import Span
from kdiag.parse.iptables_cut import CutDump
from kdiag.parse.iptables_forms import ENDPOINT_KIND
from kdiag.pipeline.offers import Outdated, SortedOffers
from kdiag.planes.iptables_excerpts import rules_at
from kdiag.walk.cases import ROUNDING
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.network import NodeNetwork

_TRANSLATES = b" -j DNAT "
# What a client is remembered for does not decide about one that was never seen.
_REMEMBERED = b" --rcheck "


class OutOfDate(Struct):
    """The ports that are out of date: what is expected at their addresses, and what their rules do.

    All callers are alike, and no packet is masqueraded on either side: who has to be is, as the kind is right, and what is
    wrong with the endpoints is wrong for all.
    """

    expected: dict[Frontend, Behaviour] = field(default_factory=dict)
    actual: dict[Frontend, Behaviour] = field(default_factory=dict)
    unlike: dict[Family, set[Spot]] = field(default_factory=dict)
    """What was walked for a kind of which something has to be walked all the same: a rule could not be read, or somebody
    else's decides, and is to be told."""


Ways = Mapping[SocketAddress, Passed]
"""The last step of what is told of the way to an endpoint."""


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
        network, detector = context.networks[family], detector_of(family, context)
        found.unlike[family] = _decided(offers, walked)
        lines = {item.offer.key: _lines_of(item, cut, family) for item in offers.out_of_date()}
        mets = _mets({span for mine in lines.values() if mine for span in mine.all()}, cut, by_source[offers.source])
        for kind, items in offers.outdated.items():
            for item in items:
                mine = lines[item.offer.key]
                if mine is None or not mets.keys() >= set(mine.all()):
                    found.unlike[family].add(offers.kinds[kind][0].spot)
                    continue
                found.expected |= _behaviours(item, item.offer.item, network, detector, {})
                found.actual |= _behaviours(item, item.rules, network, detector, _ways(mine, mets))
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


def _behaviours(
    item: Outdated, outlook: Outlook, network: NodeNetwork, detector: LocalDetector, ways: Mapping[str, Ways]
) -> Iterator[tuple[Frontend, Behaviour]]:
    """What happens at an address if these are the endpoints."""
    at = [socket_address(network.family, address, number) for address, number in sorted(outlook.cluster.pairs)]
    fates = {place: Fate(disposition=Disposition.BACKEND, backend=place, affinity_s=outlook.affinity_s) for place in at}
    share = round(1 / len(at), ROUNDING)
    outcomes = (Outcome(shares=tuple([(fate, share) for fate in fates.values()])),)
    paths = {hook: {fates[place]: passed for place, passed in mine.items()} for hook, mine in ways.items()}
    port = outlook.service_port
    for frontend, target, everybody in frontends_of(network, port.protocol, item.offer.targets):
        position = frontend.position
        told = paths.get("OUTPUT" if position is Position.NODE else "PREROUTING", {})
        cases = [
            Case(clients=part, outcomes=outcomes, paths=told) if is_sent else Case(clients=part, outcomes=())
            for clients in everybody
            for part, is_sent in _parts(clients, target, position, item.clients, detector)
            if part
        ]
        yield frontend, Behaviour(cases=tuple(cases), service_port=port)


def _parts(
    clients: ClientSet,
    target: ServiceAddress,
    position: Position,
    sent: Collection[tuple[Position, bool]],
    detector: LocalDetector,
) -> Iterator[tuple[ClientSet, bool]]:
    """Some clients of an address, and whether they are sent to the endpoints. What is expected of the others is what their
    rules do, if anything is."""
    asked = judged(clients, target)
    if asked is not clients:
        yield ClientSet(addresses=clients.addresses - asked.addresses, interfaces=clients.interfaces), False
    pods_are, others_are = (position, True) in sent, (position, False) in sent
    if pods_are and others_are:
        yield asked, True
    else:
        pods, others, certain = detector.split(asked, position)
        yield pods, pods_are and certain
        yield others, others_are and certain


def _ways(lines: _Lines, mets: Mapping[Span, Met]) -> dict[str, Ways]:
    """What is told of the way to each endpoint, for packets from elsewhere and for those of the node."""
    found: dict[str, Ways] = {}
    for hook in ("PREROUTING", "OUTPUT"):
        ways = found[hook] = {}
        looked_up = _passed(None, lines.looked_up, mets, hook)
        for place, spans in lines.to.items():
            passed = _passed(looked_up, spans, mets, hook)
            if passed is not None:
                ways[place] = passed
    return found


def _passed(previous: Passed | None, spans: Iterable[Span], mets: Mapping[Span, Met], hook: str) -> Passed | None:
    """The last of some steps."""
    for span in spans:
        depth = previous.depth + 1 if previous is not None else 1
        previous = Passed(previous, mets[span], hook, "nat", 1.0, depth)
    return previous
