"""`ipset save` output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.rules import IpSet
from kdiag.parse.ipset_save import parse_ipset_save

SAVE = """\
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xa1881a2b
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
add KUBE-CLUSTER-IP 10.96.0.10,udp:53 timeout 20 packets 1 bytes 2 comment "nomatch this"
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
create nets hash:net family inet
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
"""


def test_sets_and_members() -> None:
    sets, unread = parse_ipset_save(SAVE, "ipset-save.txt")
    assert unread == ()
    assert sets == {
        "KUBE-CLUSTER-IP": IpSet(
            name="KUBE-CLUSTER-IP",
            type="hash:ip,port",
            members=frozenset(("10.96.0.1,tcp:443", "10.96.0.10,udp:53")),
        ),
        "KUBE-NODE-PORT-TCP": IpSet(name="KUBE-NODE-PORT-TCP", type="bitmap:port"),
        "nets": IpSet(name="nets", type="hash:net", members=frozenset(("10.0.0.0/8", "10.1.0.0/16 nomatch"))),
    }


@pytest.mark.parametrize("text", ["", "\r\n \n", "# a remark\n"])
def test_empty_text_is_no_sets(text: str) -> None:
    assert parse_ipset_save(text, "s") == ({}, ())


def test_lines_that_are_not_understood() -> None:
    sets, unread = parse_ipset_save("create a hash:ip\r\nadd b 10.0.0.1\nadd a\nnoise\nCOMMIT\nadd a 10.0.0.2", "s")
    assert sets["a"].members == {"10.0.0.2"}
    assert [(line.line, line.reason) for line in unread] == [
        (2, "set b was not created before"),
        (3, "not a line of ipset save"),
        (4, "not a line of ipset save"),
    ]


def test_other_output_is_refused() -> None:
    with pytest.raises(ParseError) as caught:
        parse_ipset_save("\nipset v7.17: Kernel error received: Operation not permitted\n", "nodes/n/ipset-save.txt")
    assert caught.value.line == 2
    assert "nodes/n/ipset-save.txt" in caught.value.message


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(SAVE.split("\n"))), max_size=8).map("\n".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        sets, _ = parse_ipset_save(text, "s")
    except ParseError:
        return
    assert all(found.name == set_name for set_name, found in sets.items())
