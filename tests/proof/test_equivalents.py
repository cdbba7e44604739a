"""Each case where silence, or a word without a change, is right: one mutant that shows it."""

from __future__ import annotations

import pytest

from tests.proof.equivalents import SILENCES, WORDS, silence_about, word_without_change
from tests.proof.judging import judge, subject_of
from tests.proof.mutations import mutants, recording

NFT, IPVS, OLD = "v1.36.2-iptables-nft", "v1.36.2-ipvs-nft", "v1.20.2-iptables-nft"
OLD_LEGACY = "v1.20.2-iptables-legacy"
LB_DROP = "drop left to kubelet"
# The case; recording, node, file and kind of the mutant, and words of what it damages.
SHOWN = [
    (LB_DROP, OLD, "node01", "iptables-save", "target DROP", "lb-ranges loadbalancer IP", "-j KUBE-MARK-DROP"),
    (LB_DROP, OLD_LEGACY, "controlplane", "iptables-save", "policy", ":INPUT ACCEPT"),
    (
        "accepted before it is refused",
        NFT,
        "node01",
        "iptables-save",
        "target RETURN",
        "-A OUTPUT",
        "KUBE-PROXY-FIREWALL",
    ),
    ("a port that no Service has", IPVS, "node01", "ipset-save", "member deleted", "KUBE-IPVS-IPS 10.96.100.45"),
    ("somebody else's virtual server", IPVS, "node01", "ipvsadm-save-n", "virtual server address", "10.96.0.10:53"),
    ("NodePort open at more addresses", NFT, "node01", "configz", "configz: nodePortAddresses"),
    ("address that the node took", IPVS, "node01", "ip-addr", "address added"),
    ("told before anybody suffers", IPVS, "node01", "iptables-save", "chain renamed", ":KUBE-POSTROUTING"),
]


def test_every_case_is_shown() -> None:
    assert {item.name for item in (*SILENCES, *WORDS)} == {case for case, *_ in SHOWN}


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: f"{shown[0]}: {shown[4]}")
def test_a_mutant_shows_the_case(shown: tuple[str, ...]) -> None:
    case, name, node, probe, kind, *words = shown
    found = next(
        item
        for item in mutants(name, node)
        if item.kind == (probe, kind) and all(word in item.edit.label for word in words)
    )
    judgement = judge(subject_of(name, recording(name), node), probe, found.edit)
    if judgement.changes:
        assert {silence_about(judgement, item) for item in judgement.unnamed} == {case}
    else:
        assert word_without_change(judgement) == case
        assert judgement.news
