"""kube-proxy's log in the texts of all eras."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.addresses import Family
from kdiag.model.host import ProxyLog
from kdiag.model.snapshot import Recording
from kdiag.parse.proxy_log import parse_proxy_log

V120 = """\
I1123 00:49:14.752692      94 node.go:172] Successfully retrieved node IP: 192.168.56.10
I1123 00:49:14.752755      94 server_others.go:142] kube-proxy node IP is an IPv4 address (192.168.56.10), assume IPv4 operation
W1123 00:49:14.754577      94 server_others.go:578] Unknown proxy mode "", assuming iptables proxy
I1123 00:49:14.754666      94 server_others.go:185] Using iptables Proxier.
I1123 00:49:14.755016      94 server.go:650] Version: v1.20.2
I1123 00:49:14.957146      94 config.go:315] Starting service config controller
"""

V136 = """\
I1123 01:29:04.236921     356 server.go:228] "Successfully retrieved NodeIPs" NodeIPs=["192.168.56.11"]
I1123 01:29:04.242631     356 server.go:274] "kube-proxy running in dual-stack mode" primary ipFamily="IPv4"
I1123 01:29:04.242751     356 server_linux.go:254] "Using nftables Proxier"
I1123 01:29:04.246073     356 server.go:539] "Version info" version="v1.36.2"
I1123 01:29:04.971286     356 config.go:200] "Starting service config controller"
"""

FAILURE = """\
E1123 01:30:00.000000     356 proxier.go:1] "Failed to execute iptables-restore" err="exit status 4" ipFamily="IPv4"
I1123 01:30:00.000001     356 proxier.go:2] "Sync failed" ipFamily="IPv4" retryingTime="30s"
"""


def parse(text: str) -> ProxyLog:
    return parse_proxy_log(Recording(source="nodes/n/kube-proxy.log", content=text.encode()))


def success(family: str = "") -> str:
    named = f' ipFamily="{family}"' if family else ""
    return f'I1123 01:31:00.000000     356 proxier.go:3] "SyncProxyRules complete"{named} elapsed="20ms"\n'


def test_start_of_an_old_proxy() -> None:
    log = parse(V120)
    assert (log.proxier, log.version, log.starts) == ("iptables", "v1.20.2", 1)
    assert log.single_family is Family.IPV4
    assert [number for number, _ in log.notes] == [3]
    assert log.failures == ()
    assert log.last_success_line == 0
    assert log.source == "nodes/n/kube-proxy.log"


def test_start_of_a_new_proxy() -> None:
    log = parse(V136)
    assert (log.proxier, log.version, log.starts, log.single_family) == ("nftables", "v1.36.2", 1, None)


def test_json_and_container_prefixes() -> None:
    text = (
        '{"ts":1,"msg":"Using ipvs Proxier"}\n{"ts":2,"msg":"Version info","version":"v1.31.0"}\n'
        '{"log":"I1 s.go:1] \\"Sync failed\\" ipFamily=\\"IPv6\\"\\n","stream":"stderr"}\n'
    )
    log = parse(text)
    assert (log.proxier, log.version) == ("ipvs", "v1.31.0")
    assert [number for number, _ in log.failures] == [3]
    assert parse("2026-11-23T00:00:00Z stderr F " + V136).proxier == "nftables"


def test_single_stack_texts() -> None:
    assert parse('I1 x] "kube-proxy running in single-stack mode" ipFamily="IPv6"\n').single_family is Family.IPV6
    assert parse("I1 x] kube-proxy running in single-stack IPv4 mode\n").single_family is Family.IPV4
    unsupported = 'I1 x] "kube-proxy running in single-stack mode, this ipFamily is not supported" ipFamily="IPv6"\n'
    assert parse(unsupported).single_family is Family.IPV4
    assert parse('I1 x] "No iptables support for family" ipFamily="IPv4" error="x"\n').single_family is Family.IPV6
    assert parse("W1 x] No iptables support for IPv6: exit status 3\n").single_family is Family.IPV4
    assert parse(V120 + V136).single_family is None


def test_old_dual_stack_overrides_the_assumed_family() -> None:
    text = V120.replace("Proxier.\n", "Proxier.\nI1 x] creating dualStackProxier for iptables.\n")
    assert parse(text).single_family is None


def test_failures_of_the_last_run_count() -> None:
    log = parse(V136 + FAILURE)
    assert [number for number, _ in log.failures] == [6, 7]
    assert "exit status 4" in log.failures[0][1]
    restarted = parse(V136 + FAILURE + V136)
    assert restarted.starts == 2
    assert restarted.failures == ()


def test_a_second_start_without_sync_in_between_is_a_start() -> None:
    assert parse('"Using iptables Proxier"\nVersion: v1.22.1\nVersion: v1.22.2\n').starts == 2


def test_a_later_success_of_the_same_family_clears_failures() -> None:
    healed = parse(V136 + FAILURE + success("IPv4") + success("IPv4"))
    assert healed.failures == ()
    assert healed.last_success_line == 9


def test_the_end_of_a_failed_sync_is_no_success() -> None:
    log = parse(V136 + FAILURE + success("IPv4"))
    assert len(log.failures) == 2
    assert log.last_success_line == 0


def test_success_of_the_other_family_clears_nothing() -> None:
    assert len(parse(V136 + FAILURE + success("IPv4") + success("IPv6")).failures) == 2


def test_unnamed_failures_are_those_of_the_sync_that_they_stand_in() -> None:
    unnamed = FAILURE.replace(' ipFamily="IPv4"', "")
    assert len(parse(V136 + unnamed + success("IPv4") + success("IPv6")).failures) == 2
    assert parse(V136 + unnamed + success("IPv4") + success("IPv4")).failures == ()


def test_without_family_names_a_dual_stack_log_needs_two_successes() -> None:
    unnamed = FAILURE.replace(' ipFamily="IPv4"', "")
    assert len(parse(V136 + unnamed + success() + success()).failures) == 2
    assert parse(V136 + unnamed + success() + success() + success()).failures == ()
    single = V136.replace("in dual-stack mode", "in single-stack mode")
    assert parse(single + unnamed + success() + success()).failures == ()


def test_verbosity_and_notes() -> None:
    log = parse('I1 flags.go:33] FLAG: --v="4"\n' + V136 + "W1 x] Can't use the IPVS proxier: error\n")
    assert log.verbosity == 4
    assert log.starts == 1
    assert log.notes == ((7, "W1 x] Can't use the IPVS proxier: error"),)


def test_lines_end_at_line_feeds_only_and_come_out_printable() -> None:
    log = parse('noise\x0b\x1c\x85\r more\n\x1b[31m"Sync failed"\x07 ' + "x" * 1000 + "\n")
    ((number, text),) = log.failures
    assert number == 2
    assert text.isprintable()
    assert len(text) <= 400
    assert text.endswith("…")


def test_a_log_of_megabytes_is_read_quickly() -> None:
    text = (
        V136
        + 'I1123 01:29:04.971317     356 proxier.go:800] "Something else happened" service="a/b"\n' * 60000
        + FAILURE
    )
    started = time.monotonic()
    log = parse(text)
    assert time.monotonic() - started < 5
    assert [number for number, _ in log.failures] == [60006, 60007]


@given(st.lists(st.sampled_from([V120, V136, FAILURE, success(), success("IPv6"), "\x00\n", "noise\n"]), max_size=8))
def test_line_numbers_always_point_at_the_line(parts: list[str]) -> None:
    text = "".join(parts)
    log = parse(text)
    lines = text.split("\n")
    for number, line in (*log.failures, *log.notes):
        assert lines[number - 1].strip() == line
