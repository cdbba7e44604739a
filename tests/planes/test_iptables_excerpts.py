"""Parts of a large dump stand for the whole."""

from __future__ import annotations

from kdiag.model.addresses import Family
from kdiag.model.rules import Backend
from kdiag.parse.iptables_cut import cut_dump
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.planes.detection import config_from_rules
from kdiag.planes.iptables_excerpts import sample_of

PODS = "! -s 10.244.0.0/16 "


def dump(masquerading: list[str]) -> str:
    """What a node has with one Service for each of these ways to name its clients."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [letters[index] * 16 for index in range(len(masquerading))]
    declared = ["KUBE-MARK-MASQ", *(f"KUBE-SEP-{name}" for name in names), "KUBE-SERVICES"]
    declared += [f"KUBE-SVC-{name}" for name in names]
    lines = ["*nat", ":PREROUTING ACCEPT [0:0]", *(f":{name} - [0:0]" for name in declared)]
    lines += ["-A PREROUTING -j KUBE-SERVICES", "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"]
    for index, name in enumerate(names):
        lines += [
            f"-A KUBE-SEP-{name} -s 10.244.0.{index}/32 -j KUBE-MARK-MASQ",
            f"-A KUBE-SEP-{name} -p tcp -m tcp -j DNAT --to-destination 10.244.0.{index}:80",
        ]
    to = [
        f'-d 10.96.0.{index}/32 -p tcp -m comment --comment "n/s{index} cluster IP" -m tcp --dport 80'
        for index in range(len(names))
    ]
    lines += [f"-A KUBE-SERVICES {there} -j KUBE-SVC-{name}" for there, name in zip(to, names, strict=True)]
    for name, who, there in zip(names, masquerading, to, strict=True):
        lines += [f"-A KUBE-SVC-{name} {who}{there} -j KUBE-MARK-MASQ", f"-A KUBE-SVC-{name} -j KUBE-SEP-{name}"]
    return "\n".join([*lines, "COMMIT", ""])


def test_a_sample_shows_what_most_rules_do() -> None:
    """Two Services that were tampered with, each in another way, do not outvote the others."""
    text = dump([*[PODS] * 5, "", "-m conntrack --ctstate NEW ", *[PODS] * 5])
    whole = parse_iptables_save(text, family=Family.IPV4, source="dump")
    cut = cut_dump(text.encode())
    assert cut is not None
    sample = sample_of(cut, Family.IPV4, Backend.NFT, "dump")
    assert len(sample.tables["nat"].chains) < len(whole.tables["nat"].chains)
    assert config_from_rules([sample]) == config_from_rules([whole])
    assert not getattr(config_from_rules([whole]), "masquerade_all", True)


def test_where_nothing_is_counted_a_sample_has_one_of_each_form() -> None:
    cut = cut_dump(dump([*[PODS] * 7, *[""] * 2]).encode())
    assert cut is not None
    some, few = (
        [
            chain.rules[0].source is None
            for chain in sample_of(cut, Family.IPV4, Backend.NFT, "dump", counted=counted).tables["nat"].chains.values()
            if chain.name.startswith("KUBE-SVC-")
        ]
        for counted in (True, False)
    )
    assert (some.count(False), some.count(True)) == (5, 2)
    assert sorted(few) == [False, True]
