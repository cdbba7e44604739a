"""Everything that was recorded on a node, parsed as far as all planes need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdiag.model.host import HostFacts
from kdiag.model.snapshot import Recording
from kdiag.parse.iptables_parts import CutDump
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.rulesets import read_ipsets, read_ipvs, read_nft, read_rulesets

if TYPE_CHECKING:
    from kdiag.parse.nft_cut import NftCut


def read_evidence(
    node_name: str,
    probes: Mapping[str, Recording],
    host: HostFacts,
    *,
    cut: bool = True,
    in_part: bool = False,
    counted: bool = True,
    like: dict[str, CutDump] | None = None,
) -> NodeEvidence:
    """Everything recorded on a node, with its rule sets and ipsets parsed.

    Unless `cut` is False, large dumps are cut up, and read as far as needed: `in_part` for a few Services,
    `counted` if it matters what most rules do. `like` has those
    of another node, of which nothing is read again that is the same; the first node's are put there.
    """
    cuts: dict[str, CutDump] = {}
    rulesets, ruleset_gaps = read_rulesets(
        node_name, probes, host.iptables_version, cuts if cut else None, in_part=in_part, counted=counted, like=like
    )
    ipsets, ipset_gaps = read_ipsets(node_name, probes)
    nft_cuts: list[NftCut] = []
    nft, nft_gaps = read_nft(node_name, probes, rulesets, nft_cuts if cut else None)
    ipvs, ipvs_gaps = read_ipvs(node_name, probes)
    return NodeEvidence(
        node_name=node_name,
        probes=probes,
        host=host,
        rulesets=rulesets,
        ipsets=ipsets,
        nft=nft,
        ipvs=ipvs,
        gaps=(*ruleset_gaps, *ipset_gaps, *nft_gaps, *ipvs_gaps),
        cuts=cuts,
        nft_cut=nft_cuts[0] if nft_cuts else None,
    )
