"""Each case where silence, or a word without a change, is right: one mutant that shows it."""

from __future__ import annotations

import pytest

from tests.proof.equivalents import SILENCES, WORDS, silence_about, word_without_change
from tests.proof.judging import judge, subject_of
from tests.proof.mutations import mutants, recording

NODE = "node01"
NFT, IPVS, OLD = "v1.36.2-iptables-nft", "v1.36.2-ipvs-nft", "v1.20.2-iptables-nft"
# The case; recording, file and kind of the mutant, and words of what it damages.
SHOWN = {
    "drop left to kubelet": (OLD, "iptables-save", "target DROP", "lb-ranges loadbalancer IP", "-j KUBE-MARK-DROP"),
    "accepted before it is refused": (NFT, "iptables-save", "target RETURN", "-A OUTPUT", "KUBE-PROXY-FIREWALL"),
    "a port that no Service has": (IPVS, "ipset-save", "member deleted", "KUBE-IPVS-IPS 10.96.100.45", ""),
    "somebody else's virtual server": (IPVS, "ipvsadm-save-n", "virtual server address", "10.96.0.10:53", ""),
    "NodePort open at more addresses": (NFT, "configz", "configz: nodePortAddresses", "", ""),
    "address that the node took": (IPVS, "ip-addr", "address added", "", ""),
    "told before anybody suffers": (IPVS, "iptables-save", "chain renamed", ":KUBE-POSTROUTING", ""),
}
# No single damage is known yet that shows it; the full run tells.
NOT_SHOWN = {"external IP by the bridge"}


def test_every_case_is_shown() -> None:
    assert {item.name for item in (*SILENCES, *WORDS)} == {*SHOWN, *NOT_SHOWN}


@pytest.mark.parametrize("case", SHOWN)
def test_a_mutant_shows_the_case(case: str) -> None:
    name, probe, kind, *words = SHOWN[case]
    found = next(
        item
        for item in mutants(name, NODE)
        if item.kind == (probe, kind) and all(word in item.edit.label for word in words)
    )
    judgement = judge(subject_of(name, recording(name), NODE), probe, found.edit)
    if judgement.changes:
        assert {silence_about(judgement, item) for item in judgement.unnamed} == {case}
    else:
        assert word_without_change(judgement) == case
        assert judgement.news
