"""All that a node does to packets of one family, as one program; and the behaviours that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import Behaviour, Case, ClientSet, Frontend, ServicePortKey
from kdiag.model.rules import Backend, Ruleset
from kdiag.planes.interface import NodeEvidence
from kdiag.walk.cases import cases_of
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import NodeNetwork
from kdiag.walk.own_addresses import alike_among
from kdiag.walk.ownership import IPTABLES_TABLES
from kdiag.walk.program import Program, Space
from kdiag.walk.walker import Leaf, Walker


def walker_of(evidence: NodeEvidence, network: NodeNetwork, rulesets: Iterable[Ruleset]) -> Walker:
    """A walker through everything that was recorded of one family.

    `rulesets` are the iptables rule sets in the order in which base chains of equal priority are asked; which one the
    kernel asks first no dump shows, so the one that kube-proxy writes comes first.
    """
    spaces: list[Space] = [IptablesSpace(ruleset) for ruleset in rulesets]
    # Few nodes have rules of all kinds: what walks the others is not imported.
    if evidence.nft is not None:
        from kdiag.walk.nft_rules import NftSpace

        printed = any(
            ruleset.family is network.family and ruleset.backend is not Backend.LEGACY for ruleset in evidence.rulesets
        )
        spaces.append(NftSpace(evidence.nft, network.family, IPTABLES_TABLES if printed else frozenset()))
    if evidence.ipvs is not None and evidence.ipvs.servers:
        from kdiag.walk.virtual_servers import IpvsSpace

        tracked = evidence.host.sysctls.get("net.ipv4.vs.conntrack") != "0"
        spaces.append(IpvsSpace(evidence.ipvs, tracked=tracked))
    return Walker(Program(spaces, Surroundings(network=network, ipsets=evidence.ipsets)))


def behaviours_of(
    walker: Walker, network: NodeNetwork, targets: Mapping[Frontend, ServicePortKey | None]
) -> dict[Frontend, Behaviour]:
    """What the walker finds for each frontend that has clients.

    Of the node's own addresses that are alike one is walked, unless packets to it stay on the node.
    """
    local = network.local
    own = {int(frontend.address) for frontend in targets if frontend.address in local}
    alike = alike_among(own, walker.program.spaces) if len(own) > 1 else {}
    walked: dict[object, tuple[Case, ...]] = {}
    found = {}
    for frontend, service_port in targets.items():
        clients = network.clients(frontend.position, frontend.address)
        if not clients:
            continue
        address = alike.get(int(frontend.address))
        place = (address, frontend.protocol, frontend.port, frontend.position, clients)
        cases = walked.get(place) if address is not None else None
        if cases is None:
            leaves = walker.walk(frontend, clients)
            cases = cases_of(leaves)
            if address is not None and not any(_is_at(leaf, local) for leaf in leaves):
                walked[place] = cases
        found[frontend] = Behaviour(cases=cases, service_port=service_port)
    return found


def _is_at(leaf: Leaf, addresses: AddressSet) -> bool:
    backend = leaf.fate.backend
    return backend is not None and backend.address in addresses


def follow_all(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    """Every end of the packets of some clients to one frontend, through everything that was recorded."""
    return walker_of(evidence, network, of_family(evidence, network.family)).walk(frontend, clients)


def of_family(evidence: NodeEvidence, family: Family) -> list[Ruleset]:
    """The iptables rule sets of one family."""
    return [ruleset for ruleset in evidence.rulesets if ruleset.family is family]
