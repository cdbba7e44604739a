"""The facts of a node out of its probes, and the gaps for probes that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.host import HostFacts
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording
from kdiag.parse.host import parse_go_time, parse_health, parse_host, parse_sysctls

ADDRESSES = '[{"ifname":"lo","flags":["UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8,"scope":"host"}]}]'


def probes(**texts: str) -> dict[str, Recording]:
    """Recordings by probe; an underscore in a name stands for a dash."""
    return {
        name.replace("_", "-"): Recording(source=f"nodes/n/{name.replace('_', '-')}.txt", content=text.encode())
        for name, text in texts.items()
    }


def parse(**texts: str) -> tuple[HostFacts, tuple[Gap, ...]]:
    return parse_host(probes(**texts), node="n")


def test_nothing_recorded_is_nothing_known() -> None:
    facts, gaps = parse_host({})
    assert facts == HostFacts()
    assert gaps == ()


def test_every_fact_has_its_source() -> None:
    facts, gaps = parse(
        ip_addr=ADDRESSES,
        ip_route="default via 10.0.0.1 dev eth0\n",
        ip6_route="[]",
        ss_ltnH="tcp LISTEN 0 1 *:22 *:*\n",
        ps_ef="PID CMD\n7 kube-proxy --a\n",
        argv='{"7": ["kube-proxy", "--a"]}',
        sysctl_x="net.ipv4.ip_forward = 1\n",
        proxyMode="iptables",
        kube_proxy_healthz='{"healthy":true}',
        iptables_version="iptables v1.8.9 (nf_tables)\nmore\n",
        kube_proxy='"Using iptables Proxier"\n',
    )
    assert gaps == ()
    assert facts.addresses is not None
    assert len(facts.addresses) == 1
    assert facts.interfaces is not None
    assert facts.routes is not None
    assert [str(route.network) for route in facts.routes] == ["0.0.0.0/0"]
    assert facts.sockets is not None
    assert facts.processes is not None
    assert facts.processes[0].source == "nodes/n/ps-ef.txt"
    assert facts.sysctls == {"net.ipv4.ip_forward": "1"}
    assert facts.proxy_mode_answer == "iptables"
    assert facts.health is not None
    assert facts.iptables_version == "iptables v1.8.9 (nf_tables)"
    assert facts.log is not None
    assert facts.log.proxier == "iptables"
    assert facts.sources == {
        "addresses": "nodes/n/ip-addr.txt",
        "routes": "nodes/n/ip-route.txt",
        "routes_ipv6": "nodes/n/ip6-route.txt",
        "sockets": "nodes/n/ss-ltnH.txt",
        "arguments": "nodes/n/argv.txt",
        "processes": "nodes/n/ps-ef.txt",
        "sysctls": "nodes/n/sysctl-x.txt",
        "proxy_mode": "nodes/n/proxyMode.txt",
        "health": "nodes/n/kube-proxy-healthz.txt",
        "log": "nodes/n/kube-proxy.txt",
        "iptables_version": "nodes/n/iptables-version.txt",
    }


def test_a_proxy_that_does_not_answer() -> None:
    facts, gaps = parse(proxyMode="", kube_proxy_healthz="", kube_proxy="", iptables_version="")
    assert facts.proxy_mode_answer == ""
    assert facts.health is not None
    assert (facts.health.answered, facts.health.healthy) == (False, None)
    assert facts.log is None
    assert facts.iptables_version is None
    assert gaps == ()


def test_malformed_probes_are_gaps_that_name_node_and_file() -> None:
    facts, gaps = parse(
        ip_addr="[{", ip_route="no route\n", ss_ltnH="ss: not found\n", ps_ef="what", argv="{", sysctls="nothing\n"
    )
    assert (facts.addresses, facts.interfaces, facts.routes, facts.sockets, facts.processes) == (None,) * 5
    assert {gap.subject for gap in gaps} == {
        f"nodes/n/{name}.txt" for name in ("ip-addr", "ip-route", "ss-ltnH", "ps-ef", "argv", "sysctls")
    }
    assert {gap.node for gap in gaps} == {"n"}


def test_a_few_odd_socket_lines_cost_only_themselves() -> None:
    facts, (gap,) = parse(ss_ltnH="tcp LISTEN 0 1 *:22 *:*\nodd line\n")
    assert facts.sockets is not None
    assert len(facts.sockets) == 1
    assert "1 of its lines" in gap.reason


def test_argument_vectors_alone_are_processes() -> None:
    facts, _ = parse(argv='{"7": ["kube-proxy", "--a b"]}')
    assert facts.processes is not None
    assert facts.processes[0].argv == ("kube-proxy", "--a b")
    assert facts.sources["processes"] == "nodes/n/argv.txt"


def test_the_probe_that_printed_something_is_taken() -> None:
    facts, _ = parse(processes="", ps_ef="PID CMD\n1 init\n", sockets="", ss_ltnuH="udp UNCONN 0 0 *:53 *:*\n")
    assert facts.processes is not None
    assert facts.sockets is not None
    assert facts.sockets[0].protocol == "udp"


OLD_HEALTH = (
    '{"lastUpdated": "2026-11-23 00:49:09.5 +0000 UTC m=+5.102321967",'
    '"currentTime": "2026-11-23 00:49:19.761761831 +0000 UTC m=+5.102321967"}'
)
NEW_HEALTH = (
    '{"lastUpdated":"2026-11-23T00:56:09.696250442Z","currentTime":"2026-11-23T00:56:09.696163913Z",'
    '"nodeEligible":true,"healthy":false,"status":{}}'
)


@pytest.mark.parametrize(
    ("text", "healthy", "behind_s"),
    [
        (OLD_HEALTH, None, pytest.approx(10.261761)),
        (NEW_HEALTH, False, 0.0),
        ('{"lastUpdated": 7, "currentTime": "x", "healthy": "yes"}', None, None),
        ("{broken", None, None),
        ("ok", None, None),
    ],
)
def test_health(text: str, healthy: bool | None, behind_s: float | None) -> None:
    answer = parse_health(Recording(source="s", content=text.encode()))
    assert answer.answered
    assert answer.healthy is healthy
    assert answer.behind_s == behind_s
    assert answer.text == text


def test_go_times() -> None:
    expected = datetime(2026, 11, 23, 1, 2, 3, 120000, tzinfo=UTC)
    assert parse_go_time("2026-11-23T01:02:03.12Z") == expected
    assert parse_go_time("2026-11-23 02:02:03.12 +0100 CET m=+1") == expected
    assert parse_go_time("2026-11-22 23:32:03.12 -0130 X") == expected
    assert parse_go_time("2026-11-23T01:02:03Z") == expected.replace(microsecond=0)
    assert parse_go_time("2026-13-23T01:02:03Z") is None
    assert parse_go_time("0001-01-01 00:00:00") is None
    assert parse_go_time(None) is None


def test_sysctls_in_both_spellings() -> None:
    text = (
        "net.ipv4.ip_forward = 1\nnet/ipv4/conf/eth0.5/rp_filter = 2\nnet.ipv4.conf.eth0/5.arp_filter = 0\n"
        "net.ipv4.ip_local_port_range = 32768\t60999\nnet.ipv4.ip_local_reserved_ports = \n"
        "sysctl: cannot stat /proc/sys/net/bridge: No such file or directory\n"
    )
    assert parse_sysctls(text) == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.eth0/5.rp_filter": "2",
        "net.ipv4.conf.eth0/5.arp_filter": "0",
        "net.ipv4.ip_local_port_range": "32768\t60999",
        "net.ipv4.ip_local_reserved_ports": "",
    }


@given(st.text(max_size=80))
def test_any_content_is_survived(text: str) -> None:
    names = ("ip-addr", "ip-route", "ss", "processes", "argv", "sysctls", "proxyMode", "healthz", "kube-proxy")
    parse_host({name: Recording(source=name, content=text.encode()) for name in names})


@given(st.binary(max_size=80))
def test_any_bytes_are_survived(content: bytes) -> None:
    names = ("ip-addr", "ip-route", "ss", "processes", "argv", "sysctls", "proxyMode", "healthz", "kube-proxy")
    parse_host({name: Recording(source=name, content=content) for name in names})
