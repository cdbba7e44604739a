"""Service ports that are alike are judged once.

A big node has ten thousand Service ports of a dozen kinds. Those of one kind have the same rules but for names, addresses
and ports, no other rule tells these apart, and the API asks the same for them. What one of them gets, all get, each at
its own addresses and from its own endpoints. So one of each kind is walked and judged like any Service port on a small
node, and the others are its twins: right if it is. A port whose endpoints are not those of the API, or that is not of one
of the usual kinds, is judged by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kdiag.expect.dataplane import NodeContext, Spot, detector_of, spot_of_frontend
from kdiag.expect.outlook import Outlooks, PlainEndpoints
from kdiag.model.addresses import AddressSet, Family
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import DataPlane, Frontend
from kdiag.model.difference import Comparison
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import ProxyMode
from kdiag.model.rules import Ruleset
from kdiag.parse.iptables_parts import CutDump
from kdiag.pipeline.offers import SortedOffers
from kdiag.pipeline.sorting import Sorter
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.iptables import choose
from kdiag.planes.iptables_conditions import serves
from kdiag.planes.iptables_excerpts import excerpt_of, whole_of
from kdiag.planes.programs import of_family
from kdiag.planes.rulesets import nft_excerpt, whole_nft
from kdiag.walk.distinctions import Distinctions

if TYPE_CHECKING:
    from kdiag.pipeline.likeness import AlikeNodes
    from kdiag.pipeline.offers import Cut


def sort_offers(
    evidence: NodeEvidence,
    cluster: ClusterState,
    context: NodeContext,
    plain: PlainEndpoints,
    *,
    doubtful: Collection[ObjectKey],
    alone: Collection[ObjectKey],
    moving: Collection[ObjectKey],
    only: Collection[ObjectKey] | None,
    alike: AlikeNodes | None = None,
) -> list[SortedOffers]:
    """Sort the Service ports of each family whose dump was cut up.

    Ports of `doubtful` Services are not among them, those of `alone` are judged by themselves, those of `moving` ones if they
    seem out of date. With `only`, the ports of
    these Services are, and the others not at all. A family that two backends serve, or whose packets meet virtual
    servers, is not sorted. `alike` is what is known of other nodes.
    """
    found = []
    for family, network in context.networks.items():
        chosen = _cut_of(evidence, family, context.mode)
        if chosen is None or (evidence.ipvs is not None and evidence.ipvs.servers):
            continue
        cut, source, around = chosen
        local = detector_of(family, context).network
        distinctions = Distinctions(
            network,
            (*cut.texts(), *around) if only is None else (),
            [*cut.addresses, *([AddressSet.of(family, [local])] if local is not None else [])],
            (evidence.ipsets or {}).values(),
            apart=evidence.nft is not None,
            numbers=alike.numbers if alike is not None else None,
        )
        first = alike.first_of(cut, distinctions) if alike is not None and only is None else None
        sorter = Sorter(cut, distinctions, network.local, first)
        outlooks = Outlooks(cluster, context, family, plain, endpoints=only is None)
        offers = SortedOffers(family, cut, source, outlooks.node_ports_at)
        sorter.sort(
            offers,
            outlooks,
            doubtful=doubtful,
            alone=alone,
            moving=moving,
            only=only,
        )
        if alike is not None and only is None and isinstance(cut, CutDump):
            from kdiag.pipeline.likeness import likeness_of

            likeness = likeness_of(evidence, context, cut, source, distinctions)
            offers.known = alike.walked_on(likeness) if likeness is not None else {}
        offers.choose_walked(distinctions.unasked)
        found.append(offers)
    return found


def _cut_of(evidence: NodeEvidence, family: Family, mode: ProxyMode) -> tuple[Cut, str, list[bytes]] | None:
    """The rules of kube-proxy in a family if they were cut up, what they were read from, and the text of all others."""
    candidates = of_family(evidence, family)
    if mode is ProxyMode.NFTABLES:
        table = evidence.nft_cut.tables.get(family) if evidence.nft_cut is not None else None
        if table is None or evidence.nft is None:
            return None
        around = [
            evidence.cuts[item.source].content if item.source in evidence.cuts else _text_of(item)
            for item in candidates
        ]
        # What changes the port alone sends packets to addresses that no rule names.
        if any(re.search(_TO_PORT, text) for text in around):
            return None
        return table, evidence.nft.source, around
    if not candidates:
        return None
    ruleset, others = choose(candidates)
    cut = evidence.cuts.get(ruleset.source)
    if cut is None or any(serves(other) for other in others):
        return None
    around = [_text_of(other) for other in others]
    if evidence.nft is not None:
        from kdiag.parse.nft_rest import prefixes_spelled

        around += [prefixes_spelled(item.content) for name, item in evidence.probes.items() if name.startswith("nft-")]
    return cut, ruleset.source, around


_TO_PORT = rb"\b(?:REDIRECT|NETMAP)\b|(?:--to-destination |to:):"


def _text_of(ruleset: Ruleset) -> bytes:
    rules = [rule.text for table in ruleset.tables.values() for chain in table.chains.values() for rule in chain.rules]
    return "\n".join([*rules, *(line.text for line in ruleset.unread)]).encode()


def narrowed(evidence: NodeEvidence, families: Iterable[SortedOffers]) -> NodeEvidence:
    """The evidence with what is to be walked of the dumps that were cut up; where nothing was sorted, with all of it."""
    by_source = {offers.source: offers for offers in families}
    rulesets = []
    for ruleset in evidence.rulesets:
        offers = by_source.get(ruleset.source)
        cut = evidence.cuts.get(ruleset.source)
        if cut is None:
            rulesets.append(ruleset)
        elif offers is None:
            rulesets.append(whole_of(cut, ruleset))
        else:
            chains, keys = offers.excerpt()
            # Of a dump that was cut in part it is known only now whether it is as it ought to be.
            rulesets.append(excerpt_of(cut, ruleset, chains, keys) if cut.forms.whole else whole_of(cut, ruleset))
    nft = evidence.nft
    if nft is not None and evidence.nft_cut is not None:
        mine = {}
        for offers in families:
            if offers.source == nft.source:
                chains, keys = offers.excerpt()
                mine[offers.family] = (chains, keys, offers.claims.keys() - keys)
        nft = nft_excerpt(evidence.nft_cut, nft.source, mine) if mine else whole_nft(evidence.nft_cut, nft.source)
    return replace(evidence, rulesets=tuple(rulesets), nft=nft)


def suspects(
    comparison: Comparison, expected: DataPlane, actual: DataPlane, known: Collection[Frontend]
) -> dict[Family, set[Spot]]:
    """The addresses that something is said of, and those of which nothing was seen but that are not `known` either."""
    unclear = {port for item in comparison.unclear for port in item.service_ports}
    found: dict[Family, set[Spot]] = {family: set() for family in Family}
    for group in comparison.groups:
        for difference in group.differences:
            found[difference.frontend.family].add(spot_of_frontend(difference.frontend))
    for frontend, behaviour in expected.behaviours.items():
        unseen = frontend not in actual.behaviours and frontend not in known
        if unseen or behaviour.service_port in unclear:
            found[frontend.family].add(spot_of_frontend(frontend))
    return found


def twin_frontends(families: Iterable[SortedOffers], actual: DataPlane) -> int:
    """How many frontends the offers that were not walked have: as many each as the first of its kind."""
    walked = Counter((frontend.family, spot_of_frontend(frontend)) for frontend in actual.behaviours)
    return sum(
        offers.known[kind].frontends * len(mine)
        if kind in offers.known
        else walked[offers.family, mine[0].spot] * (len(mine) - 1)
        for offers in families
        for kind, mine in offers.kinds.items()
    )
