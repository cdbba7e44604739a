"""Service ports that are out of date, and else like others, are not walked: what their rules do is known.

Where a Service port of some kind was walked and got what it ought to get, rules of that kind do with their endpoints what is
expected. So a port with rules of that kind, but with other endpoints than the API has, gets what it ought to get if the API
had these. Nobody walked its rules, so of its ways no more is made than what is told of a difference: the lines that choose
an endpoint and translate to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from kdiag.compare.telling import FATES_LIMIT, TellingRules
from kdiag.expect.behaviour import judged
from kdiag.expect.dataplane import NodeContext, Spot, detector_of, spot_of_frontend
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.situation import LocalDetector
from kdiag.model.addresses import Family, SocketAddress, address_at
from kdiag.model.dataplane import (
    TO_BACKEND,
    Behaviour,
    Case,
    ClientSet,
    DataPlane,
    Fate,
    Frontend,
    Met,
    Outcome,
    Passed,
    Position,
)
from kdiag.model.rules import Ruleset
from kdiag.parse.chain_merge import Span
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.service_words import ENDPOINT_KIND
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


Place = tuple[int, int]
"""Address and port of an endpoint."""

Ways = Mapping[Place, Passed]
"""The last step of what is told of the way to an endpoint."""


class _Lines(Struct):
    """The lines on the way to each endpoint that is told: by which the address is looked up, and that lead to the endpoint."""

    looked_up: list[Span]
    to: dict[Place, list[Span]]

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
        lines = {item.offer.key: _lines_of(item, cut) for item in offers.out_of_date()}
        mets = _mets({span for mine in lines.values() if mine for span in mine.all()}, cut, by_source[offers.source])
        for kind, items in offers.outdated.items():
            for item in items:
                mine = lines[item.offer.key]
                if mine is None or not mets.keys() >= set(mine.all()):
                    found.unlike[family].add(offers.kinds[kind][0].spot)
                    continue
                for frontend, expected, actual in _behaviours(item, offers, network, detector, _ways(mine, mets)):
                    found.expected[frontend], found.actual[frontend] = expected, actual
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


def _lines_of(item: Outdated, cut: CutDump) -> _Lines | None:
    """The first endpoints of the rules, and the first of those that the API does not have, are told. None if a line is not
    there."""
    names = item.names
    first = sorted(names)[:FATES_LIMIT]
    stale = sorted(names.keys() - item.offer.item.cluster.pairs)[:FATES_LIMIT]
    chosen = cut.lines_with(item.chain, [b" -j %b%b\n" % (ENDPOINT_KIND, names[place]) for place in first], _REMEMBERED)
    translated = [cut.lines_with(ENDPOINT_KIND + names[place], (_TRANSLATES,), _REMEMBERED) for place in stale]
    to: dict[Place, list[Span]] = {}
    for place, found in zip((*first, *stale), (*chosen, *(span for (span,) in translated)), strict=True):
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
    item: Outdated, offers: SortedOffers, network: NodeNetwork, detector: LocalDetector, ways: Ways
) -> Iterator[tuple[Frontend, Behaviour, Behaviour]]:
    """What is expected at each address, and what the rules do."""
    outlook = item.offer.item
    service_port, wanted = outlook.service_port, outlook.cluster.pairs
    fates = {
        (number, port): Fate(
            disposition=TO_BACKEND,
            backend=SocketAddress(address_at(network.family, number), port),
            affinity_s=outlook.affinity_s,
        )
        for number, port in sorted(wanted | item.names.keys())
    }
    expected, actual = (_evenly([fates[place] for place in fates if place in at]) for at in (wanted, item.names))
    paths = {fates[place]: passed for place, passed in ways.items()}
    for frontend, target, everybody in offers.frontends(item.offer, network):
        parts = [
            (part, is_sent)
            for clients in everybody
            for part, is_sent in _parts(clients, target, frontend.position, item.clients, detector)
            if part
        ]
        yield (
            frontend,
            Behaviour(cases=_cases(parts, expected, {}), service_port=service_port),
            Behaviour(cases=_cases(parts, actual, paths), service_port=service_port),
        )


def _evenly(fates: Sequence[Fate]) -> tuple[Outcome, ...]:
    share = round(1 / len(fates), ROUNDING)
    return (Outcome(shares=tuple([(fate, share) for fate in fates])),)


def _cases(
    parts: Iterable[tuple[ClientSet, bool]], outcomes: tuple[Outcome, ...], paths: Mapping[Fate, Passed]
) -> tuple[Case, ...]:
    """What the clients get that are sent to the endpoints, and the others."""
    return tuple(
        [
            Case(clients=clients, outcomes=outcomes, paths=paths) if is_sent else Case(clients=clients, outcomes=())
            for clients, is_sent in parts
        ]
    )


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


def _ways(lines: _Lines, mets: Mapping[Span, Met]) -> Ways:
    """What is told of the way to each endpoint: the same wherever a packet comes from."""
    looked_up = _passed(None, lines.looked_up, mets)
    ways = {place: _passed(looked_up, spans, mets) for place, spans in lines.to.items()}
    return {place: passed for place, passed in ways.items() if passed is not None}


def _passed(previous: Passed | None, spans: Iterable[Span], mets: Mapping[Span, Met]) -> Passed | None:
    """The last of some steps. The hook is left open: packets meet these lines at either of two."""
    for span in spans:
        depth = previous.depth + 1 if previous is not None else 1
        previous = Passed(previous, mets[span], "", "nat", 1.0, depth)
    return previous
