"""All that a node does to packets of one family, as one program; and the behaviours that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kdiag.model.addresses import Family
from kdiag.model.dataplane import Behaviour, ClientSet, Frontend, ServicePortKey
from kdiag.model.rules import Backend, Ruleset
from kdiag.planes.interface import NodeEvidence
from kdiag.walk.cases import cases_of
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import NodeNetwork
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
    """What the walker finds for each frontend that has clients."""
    found = {}
    for frontend, service_port in targets.items():
        clients = network.clients(frontend.position, frontend.address)
        if clients:
            found[frontend] = Behaviour(cases=cases_of(walker.walk(frontend, clients)), service_port=service_port)
    return found


def follow_all(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    """Every end of the packets of some clients to one frontend, through everything that was recorded."""
    return walker_of(evidence, network, of_family(evidence, network.family)).walk(frontend, clients)


def of_family(evidence: NodeEvidence, family: Family) -> list[Ruleset]:
    """The iptables rule sets of one family."""
    return [ruleset for ruleset in evidence.rulesets if ruleset.family is family]
