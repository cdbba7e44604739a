"""/proc/net/ip_vs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.parse.ipvsadm import parse_ipvsadm_save
from kdiag.parse.proc_ip_vs import parse_proc_ip_vs
from tests.parse.ipvs_samples import LIST, PROC, SAVE, content

HEADING = "".join(PROC.splitlines(keepends=True)[:3])


def test_the_same_table_as_ipvsadm_prints() -> None:
    table = parse_proc_ip_vs(PROC, "nodes/n/proc-net-ip_vs.txt")
    assert (table.source, table.unread, table.complete) == ("nodes/n/proc-net-ip_vs.txt", (), True)
    assert content(table) == content(parse_ipvsadm_save(SAVE, "s"))
    assert (table.servers[0].line, table.servers[0].text) == (4, "TCP  C0A8380B:753A rr")
    assert table.servers[1].real_servers[0].line == 6


def test_persistence_is_in_ticks_of_an_unknown_length() -> None:
    server = parse_proc_ip_vs(PROC, "p").servers[-1]
    assert (server.persistence_s, server.persistence_ticks) == (None, 2700000)
    assert server.possible_persistence_s == (2700, 9000, 10800, 27000)
    odd = parse_proc_ip_vs(f"{HEADING}TCP  0A606406:0050 rr  persistent 1 FFFFFFFF\n", "p").servers[0]
    assert odd.possible_persistence_s == (0,)
    assert parse_ipvsadm_save(SAVE, "s").servers[0].possible_persistence_s == (10800,)
    assert parse_ipvsadm_save(SAVE, "s").servers[4].possible_persistence_s == ()


@pytest.mark.parametrize(
    ("printed", "length"), [("80000000", 128), ("40000000", 64), ("00000080", 128), ("00000040", 64)]
)
def test_an_ipv6_mask_is_a_length_of_either_byte_order(printed: str, length: int) -> None:
    text = f"{HEADING}TCP  [fd00:0010:0096:0000:0000:0000:0000:0002]:01BB rr persistent 150000 {printed}\n"
    server = parse_proc_ip_vs(text, "p").servers[0]
    assert (server.family, server.mask) == (Family.IPV6, length)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ICMP  0A606406:0050 rr", "not a virtual server"),
        ("TCP  0A606406:0050", "not a virtual server"),
        ("TCP  10.96.0.1:80 rr", "not an address and a port: 10.96.0.1:80"),
        ("TCP  [fd00::1::2]:0050 rr", "not an address and a port: [fd00::1::2]:0050"),
        ("FWM  2B rr", "not a hexadecimal number: 2B"),
        ("TCP  0A606406:0050 rr twice", "a flag that is not known: twice"),
        ("TCP  0A606406:0050 rr persistent 9", "persistence has a time and a mask"),
        ("TCP  0A606406:0050 rr persistent 9 FF00FF00", "not a mask: FF00FF00"),
        ("TCP  [fd00::1]:0050 rr persistent 9 12345678", "not a mask: 12345678"),
        ("  -> 0AF40103:0050      Masq    1      0", "a real server has five columns"),
        ("  -> 0AF40103:0050      None    1      0          0", "no way of forwarding: None"),
    ],
)
def test_no_line_is_lost(line: str, reason: str) -> None:
    table = parse_proc_ip_vs(f"{HEADING}TCP  0A600001:01BB rr\n{line}\n", "p")
    assert [(item.line, item.text, item.reason) for item in table.unread] == [(5, line, reason)]


@pytest.mark.parametrize("text", ["", SAVE, "cat: /proc/net/ip_vs: No such file or directory\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="is not the output of cat /proc/net/ip_vs"):
        parse_proc_ip_vs(text, "p")


def test_a_listing_of_ipvsadm_is_not_taken_for_it() -> None:
    table = parse_proc_ip_vs(LIST, "p")
    assert table.servers == ()
    assert len(table.unread) == len(LIST.splitlines()) - 3


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(PROC.split("\n"))), max_size=8).map("\n".join))
def test_any_text_is_read(text: str) -> None:
    table = parse_proc_ip_vs(f"{HEADING}{text}", "p")
    read = len(table.unread) + len(table.servers) + sum(len(server.real_servers) for server in table.servers)
    assert read == sum(bool(line.strip()) for line in text.split("\n"))


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_proc_ip_vs(text, "p")
