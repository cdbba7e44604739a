"""`ipvsadm-save -n` and `ipvsadm -Ln`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.addresses import Family, Protocol
from kdiag.model.ipvs import Forwarding
from kdiag.parse.ipvsadm import parse_ipvsadm_list, parse_ipvsadm_save
from tests.corpus_fixtures import cluster
from tests.parse.ipvs_samples import LIST, SAVE, content

HEADING = "".join(LIST.splitlines(keepends=True)[:3])


def test_virtual_servers_and_real_servers() -> None:
    table = parse_ipvsadm_save(SAVE, "nodes/n/ipvsadm-save-n.txt")
    assert (table.source, table.unread, table.complete) == ("nodes/n/ipvsadm-save-n.txt", (), True)
    first = table.servers[0]
    assert (first.protocol, str(first.socket), first.scheduler) == (Protocol.TCP, "10.96.100.6:80", "rr")
    assert (first.persistence_s, first.mask, first.flags, first.fwmark) == (10800, 32, (), None)
    assert (first.line, first.text) == (1, "-A -t 10.96.100.6:80 -s rr -p 10800")
    assert [(str(real.socket), real.forwarding, real.weight, real.line) for real in first.real_servers] == [
        ("10.244.1.10:80", Forwarding.MASQ, 1, 2),
        ("10.244.2.11:8080", Forwarding.MASQ, 0, 3),
    ]
    assert first.real_servers[1].text == "-a -t 10.96.100.6:80 -r 10.244.2.11:8080 -m -w 0"
    six = table.servers[1]
    assert (six.family, str(six.socket), six.mask) == (Family.IPV6, "[fd00:10:96::2]:443", 128)
    assert [str(real.socket) for real in six.real_servers] == ["[fd00:10:244:1::a]:6443"]
    assert [server.protocol for server in table.servers[2:4]] == [Protocol.UDP, Protocol.SCTP]
    assert (table.servers[4].real_servers, table.servers[4].persistence_s, table.servers[4].mask) == ((), None, None)
    direct = table.servers[5]
    assert (direct.mask, direct.flags) == (24, ("ops",))
    assert [real.forwarding for real in direct.real_servers] == [Forwarding.ROUTE, Forwarding.TUNNEL]
    marked = table.servers[6]
    assert (marked.protocol, marked.address, marked.socket, marked.port, marked.fwmark) == (None, None, None, 0, 43)


def test_the_listing_is_the_same_table() -> None:
    listed, saved = parse_ipvsadm_list(LIST, "l"), parse_ipvsadm_save(SAVE, "s")
    assert (listed.unread, listed.complete) == ((), True)
    assert content(listed) == content(saved)
    assert {item.socket: item.persistence_s for item in listed.servers} == {
        item.socket: item.persistence_s for item in saved.servers
    }
    assert (listed.servers[0].line, listed.servers[0].real_servers[0].line) == (4, 5)


def test_options_that_kube_proxy_does_not_use() -> None:
    table = parse_ipvsadm_save(
        "# by hand\n"
        "-A --tcp-service 10.0.0.1:80 --scheduler mh -b mh-fallback,mh-port --persistent --netmask 255.255.0.0 --pe sip\n"
        "--add-server --tcp-service 10.0.0.1:80 --real-server 10.0.0.2:80 --ipip --weight 5 -x 100 -y 50 "
        "--tun-type gue --tun-port 6080 --tun-nocsum\n"
        "-A -f 7 -6 -s rr -p -M 64\n"
        "-a -f 7 -6 -r [fd00::1]:80 --gatewaying -w 1\n"
        "-A --udp-service 10.0.0.1:80 -s rr --ops\n"
        "-A -u 10.0.0.2:http -s rr -p\n",
        "s",
    )
    assert table.unread == ()
    first, marked, udp, named = table.servers
    assert (first.scheduler, first.flags) == ("mh", ("mh-fallback", "mh-port", "pe=sip"))
    assert (first.persistence_s, first.mask) == (300, 16)
    assert first.real_servers[0].options == (*"-x 100 -y 50 --tun-type gue --tun-port 6080 --tun-nocsum".split(),)
    assert (marked.family, marked.mask, marked.real_servers[0].forwarding) == (Family.IPV6, 64, Forwarding.ROUTE)
    assert udp.flags == ("ops",)
    assert (named.port, named.persistence_s) == (80, 300)


def test_words_of_a_listing_that_kube_proxy_does_not_cause() -> None:
    table = parse_ipvsadm_list(
        HEADING
        + "TCP  10.0.0.1:http mh persistent 300 mask 255.255.0.0 pe sip ops (mh-fallback,mh-port)\n"
        + "FWM  7 IPv6 rr\n  -> [fd00::1]:80  Local 1 0 0\n",
        "l",
    )
    assert table.unread == ()
    first, marked = table.servers
    assert (first.port, first.mask, first.flags) == (80, 16, ("pe=sip", "ops", "mh-fallback", "mh-port"))
    assert (marked.family, marked.fwmark, marked.scheduler) == (Family.IPV6, 7, "rr")
    assert marked.real_servers[0].forwarding is Forwarding.LOCAL


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-D -t 10.0.0.1:80", "not a line of ipvsadm-save"),
        ("-A", "the line ends before its last value"),
        ("-A -t", "the line ends before its last value"),
        ("-A -z 10.0.0.1:80 -s rr", "not a kind of service: -z"),
        ("-A -t node01:80 -s rr", "not an address: node01 (use -n)"),
        ("-A -t 10.0.0.1 -s rr", "not an address and a port: 10.0.0.1"),
        ("-A -t [10.0.0.1]:80 -s rr", "not an address: [10.0.0.1] (use -n)"),
        ("-A -t 10.0.0.1:nosuchport -s rr", "the name of a port that is not known: nosuchport (use -n)"),
        ("-A -t 10.0.0.1:65536 -s rr", "not a port: 65536"),
        ("-A -t 10.0.0.1:80", "no scheduler"),
        ("-A -t 10.0.0.1:80 -s", "not an option that stands at the end: -s"),
        ("-A -t 10.0.0.1:80 -s rr -q 4", "an option that is not known: -q"),
        ("-A -t 10.0.0.1:80 -s rr -p 1o", "not a number: 1o"),
        ("-A -t 10.0.0.1:80 -s rr -M 255.0.255.0", "not a mask: 255.0.255.0"),
        ("-A -t 10.0.0.1:80 -s rr -M 129", "not a mask: 129"),
        ("-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1", "its virtual server was not declared before"),
        ("-a -t 10.96.0.1:443 -r 10.0.0.2:80 -m", "a real server needs an address, a way of forwarding and a weight"),
        ("-a -t 10.96.0.1:443 -r 10.0.0.2:80 -m -w -1", "not a number: -1"),
        ("-a -t 10.96.0.1:443 -r 10.0.0.2:80 -q -w 1", "an option that is not known: -q"),
    ],
)
def test_no_line_of_the_file_form_is_lost(line: str, reason: str) -> None:
    good = "-A -t 10.96.0.1:443 -s rr\n"
    table = parse_ipvsadm_save(f"{good}{line}\n", "s")
    assert [(item.line, item.text, item.reason) for item in table.unread] == [(2, line, reason)]
    assert [server.real_servers for server in table.servers] == [()]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ICMP 10.0.0.1:80 rr", "not a virtual server"),
        ("TCP  10.0.0.1:80", "not a virtual server"),
        ("TCP  node01:80 rr", "not an address: node01 (use -n)"),
        ("FWM  7 IPv6", "no scheduler"),
        ("TCP  10.0.0.1:80 rr persistent", "the line ends before its last value"),
        ("  -> 10.0.0.9:80  Masq 1 0", "a real server has five columns"),
        ("  -> 10.0.0.9:80  Bypass 1 0 0", "no way of forwarding: Bypass"),
    ],
)
def test_no_line_of_the_listing_is_lost(line: str, reason: str) -> None:
    table = parse_ipvsadm_list(f"{HEADING}TCP  10.96.0.1:443 rr\n{line}\n", "l")
    assert [(item.line, item.text, item.reason) for item in table.unread] == [(5, line, reason)]


def test_real_servers_below_an_unread_virtual_server_are_nobody_elses() -> None:
    table = parse_ipvsadm_list(
        f"{HEADING}TCP  10.96.0.1:443 rr\nTCP  node01:80 rr\n  -> 10.0.0.9:80  Masq 1 0 0\nUDP  10.96.0.1:1 rr\n", "l"
    )
    assert [item.reason for item in table.unread] == [
        "not an address: node01 (use -n)",
        "its virtual server was not understood",
    ]
    assert [server.real_servers for server in table.servers] == [(), ()]


def test_an_empty_table() -> None:
    assert parse_ipvsadm_save("", "s").servers == ()
    assert parse_ipvsadm_save("\n", "s").complete
    empty = parse_ipvsadm_list(HEADING, "l")
    assert (empty.servers, empty.unread, empty.complete) == ((), (), True)


@pytest.mark.parametrize(
    "cut", [len("-a -t 10.96.100.6:80 -r 10.244."), len("-a -t 10.96.100.6:80 -r 10.244.1.10:80 -m")]
)
def test_a_line_that_was_cut_off(cut: int) -> None:
    first, second, *_ = SAVE.split("\n")
    table = parse_ipvsadm_save(f"{first}\n{second[:cut]}", "s")
    assert not table.complete
    assert [item.line for item in table.unread] == [2]


def test_a_missing_line_end_alone_is_no_cut() -> None:
    assert parse_ipvsadm_save(SAVE.rstrip("\n"), "s").complete
    assert not parse_ipvsadm_list(LIST.rstrip()[:-20], "l").complete


@pytest.mark.parametrize("text", ["Can't initialize ipvs: Protocol not available\n", LIST])
def test_text_that_is_no_file_form(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_ipvsadm_save(text, "nodes/n/ipvsadm-save-n.txt")
    assert caught.value.line == 1
    assert "nodes/n/ipvsadm-save-n.txt" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        SAVE,
        "IPVS connection entries\npro expire state source virtual destination\n",
        HEADING.replace("Scheduler Flags", "Conns   InPkts  OutPkts  InBytes OutBytes"),
        HEADING.replace("Forward Weight ActiveConn InActConn", "Uthreshold Lthreshold ActiveConn InActConn"),
        "".join(HEADING.splitlines(keepends=True)[:2]),
    ],
)
def test_text_that_is_no_listing(text: str) -> None:
    with pytest.raises(ParseError, match="is not the output of ipvsadm -Ln"):
        parse_ipvsadm_list(text, "l")


def test_what_stands_before_the_heading_is_told() -> None:
    table = parse_ipvsadm_list(f"Warning: odd\n{LIST}", "l")
    assert [item.text for item in table.unread] == ["Warning: odd"]
    assert content(table) == content(parse_ipvsadm_list(LIST, "l"))


@pytest.mark.parametrize("node", ["node01", "node02"])
def test_a_recording_is_read_whole(node: str) -> None:
    table = parse_ipvsadm_save(cluster("v1.36.2-ipvs-nft").nodes[node]["ipvsadm-save-n"].text(), "s")
    assert (table.unread, table.complete) == ((), True)
    assert len(table.servers) > 50
    assert {server.scheduler for server in table.servers} == {"rr"}
    assert {(real.forwarding, real.weight) for server in table.servers for real in server.real_servers} == {
        (Forwarding.MASQ, 1)
    }


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(SAVE.split("\n"))), max_size=8).map("\n".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        table = parse_ipvsadm_save(text, "s")
    except ParseError:
        return
    lines = [line.strip() for line in text.removeprefix("\ufeff").split("\n")]
    read = len(table.unread) + len(table.servers) + sum(len(server.real_servers) for server in table.servers)
    assert read == sum(bool(line) and not line.startswith("#") for line in lines)


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(LIST.split("\n"))), max_size=8).map("\n".join))
def test_any_listing_is_read(text: str) -> None:
    table = parse_ipvsadm_list(f"{HEADING}{text}", "l")
    read = len(table.unread) + len(table.servers) + sum(len(server.real_servers) for server in table.servers)
    assert read == sum(bool(line.strip()) for line in text.split("\n"))


@given(st.lists(st.sampled_from(SAVE.split()), max_size=12).map(" ".join))
def test_any_words_of_the_file_form_are_read_or_refused(line: str) -> None:
    table = parse_ipvsadm_save(f"-A -t 10.96.0.1:443 -s rr\n{line}\n", "s")
    assert len(table.servers) <= 2
