"""A slice of figure 2: damaged recordings of every mode, and that every kind of damage is made."""

from __future__ import annotations

import dataclasses

import pytest

from kdiag.pipeline.flow import Scope, diagnose
from tests.proof.equivalents import SILENCES, WORDS
from tests.proof.judging import Change, judge, look_at, news, subject_of
from tests.proof.mutations import RECORDINGS, Tally, details_of, mutants, recording, try_recording

NODE = "node01"
# One recording of each mode and family.
SLICE = (
    "v1.20.2-iptables-nft",
    "dual-v1.36.2-iptables-nft",
    "v1.36.2-nftables-nft",
    "v1.36.2-nftables-nft as text",
    "v1.36.2-ipvs-nft",
    "v1.20.2-userspace-nft",
)
EACH = 5


@pytest.mark.parametrize("name", SLICE)
def test_what_changes_a_packets_fate_is_told_and_nothing_else(name: str) -> None:
    tally = try_recording(name, 20, lambda tried, _: tried >= EACH)
    assert tally.tried == EACH
    assert tally.wrong == []
    assert tally.changing > 0


@pytest.mark.parametrize("name", ["v1.36.2-iptables-nft"])
def test_the_look_is_what_diagnose_reports(name: str) -> None:
    snapshot = recording(name)
    look = look_at(snapshot, NODE)
    assert look.findings == diagnose(snapshot, Scope(nodes=(NODE,))).findings
    assert news(look, look) == ()
    assert len(look.actual) > 200


def test_every_recording_has_many_mutants_of_many_kinds() -> None:
    for name in RECORDINGS:
        every = mutants(name, NODE)
        kinds = {item.kind for item in every}
        assert len(kinds) > (15 if "as text" in name else 50), name
        assert len(every) > 1000, name


def test_every_kind_of_damage_is_made() -> None:
    def kinds(name: str, probe: str) -> set[str]:
        return {item.edit.kind for item in mutants(name, NODE) if item.probe == probe}

    assert kinds("v1.20.2-iptables-nft", "iptables-save") == {
        "rule deleted", "rule doubled", "rules swapped", "chain deleted", "chain deleted with all jumps to it",
        "chain emptied", "chain renamed", "chain renamed without those who jump to it", "table emptied", "policy",
        "-d address", "-s address", "port", "protocol", "probability", "no probability", "DNAT address", "DNAT port",
        "mark", "mask", "negation", "affinity time", "address type", "state",
        "target RETURN", "target DROP", "target ACCEPT",
    }  # fmt: skip
    assert kinds("v1.36.2-nftables-nft", "nft-j-list-ruleset") == {
        "rule deleted", "rule doubled", "rules swapped", "statement deleted", "chain deleted with all that leads to it",
        "chain emptied", "chain renamed", "chain renamed without those who jump to it", "table emptied", "table deleted",
        "policy", "address", "port", "protocol", "number", "modulus", "mark", "negation", "affinity time", "address type",
        "state", "jump", "set", "prefix length", "element deleted", "element of a rule deleted", "map emptied",
        "set emptied", "verdict return", "verdict drop", "verdict accept",
    }  # fmt: skip
    assert kinds("v1.36.2-nftables-nft as text", "nft-list-ruleset") == {
        "rule deleted", "rule doubled", "rules swapped", "chain emptied", "policy", "address", "port", "protocol",
        "modulus", "mark", "negation", "jump", "element deleted",
    }  # fmt: skip
    assert kinds("v1.36.2-ipvs-nft", "ipvsadm-save-n") == {
        "all virtual servers deleted", "virtual server deleted", "virtual server emptied", "virtual server address",
        "virtual server port", "virtual server protocol", "scheduler", "persistence", "persistence lost",
        "affinity time", "real server deleted", "real server address", "real server port", "weight 0", "weight",
        "real servers swapped",
    }  # fmt: skip
    assert kinds("v1.36.2-ipvs-nft", "ipset-save") == {
        "set emptied", "member deleted", "member port", "member protocol", "member address",
    }  # fmt: skip
    assert kinds("v1.36.2-ipvs-nft", "ip-addr") == {
        "all addresses gone", "device gone", "address gone", "address changed", "address added",
    }  # fmt: skip
    assert "set" in kinds("v1.36.2-ipvs-nft", "iptables-save")
    assert kinds("v1.20.2-userspace-nft", "ss-ltnH") == {"listener gone"}
    assert "REDIRECT port" in kinds("v1.20.2-userspace-nft", "iptables-save")


def test_the_api_is_changed_in_every_way() -> None:
    found = {item.edit.kind for item in mutants("v1.36.2-iptables-nft", NODE) if item.probe.startswith("cluster/")}
    assert found >= {
        "Service removed", "Service added", "cluster IP changed", "made headless", "Service port changed",
        "Service port removed", "Service protocol changed", "node port changed", "node port removed",
        "given to another proxy", "affinity changed", "affinity time changed", "externalTrafficPolicy changed",
        "internalTrafficPolicy changed", "external IP added", "external IP removed", "load-balancer IP changed",
        "load-balancer IP removed", "source ranges changed", "source ranges removed", "slice removed",
        "endpoint removed", "endpoint added", "endpoint address", "endpoint ready or not", "endpoint terminating",
        "endpoint on another node", "endpoint port changed", "endpoint port renamed", "pod removed", "pod IP changed",
        "pod on another node", "node removed", "node IP changed", "pod CIDR changed", "ConfigMap removed",
        "ConfigMap: clusterCIDR changed", "ConfigMap: service range changed",
    }  # fmt: skip


def test_a_case_that_never_occurs_is_wrong_in_the_full_run() -> None:
    assert len(details_of([], "all")[1]) == len(SILENCES) + len(WORDS)
    assert details_of([], "")[1] == ()


def test_what_is_not_told_is_missed_and_what_is_told_without_need_is_a_false_alarm() -> None:
    name = "v1.36.2-nftables-nft"
    on = subject_of(name, recording(name), NODE)
    emptied = (item for item in mutants(name, NODE) if item.edit.kind == "map emptied")
    mutant = next(item for item in emptied if "service-ips" in item.edit.place)
    judgement = judge(on, mutant.probe, mutant.edit)
    silent = dataclasses.replace(judgement, told=(), changes=tuple(unnamed(item) for item in judgement.changes))
    tally = Tally(name)
    for item in (judgement, silent, dataclasses.replace(judgement, changes=())):
        tally.add(item)
    assert (tally.tried, tally.changing, tally.found) == (3, 2, 1)
    assert len(tally.missed) == 1
    assert len(tally.false_alarms) == 1


def unnamed(change: Change) -> Change:
    return dataclasses.replace(change, named=False)
