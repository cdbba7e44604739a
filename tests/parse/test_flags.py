"""Command lines of components, as processes, pods and shells write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.parse.flags import parse_command, parse_flags, unquote


def test_a_plain_command_line() -> None:
    command = parse_command(
        ["/usr/local/bin/kube-proxy", "--config=/etc/c.conf", "--hostname-override", "node01", "-v=2"]
    )
    assert command is not None
    assert command.component == "kube-proxy"
    assert command.flags == (("config", "/etc/c.conf"), ("hostname-override", "node01"), ("v", "2"))
    assert not command.all_in_one


def test_underscores_repeats_and_switches() -> None:
    command = parse_command(["kubelet", "--cluster_dns=10.0.0.10", "--cluster-dns=10.0.0.11", "--fail-swap-on", "--x"])
    assert command is not None
    assert command.flag("cluster-dns") == "10.0.0.11"
    assert command.values("cluster-dns") == ("10.0.0.10", "10.0.0.11")
    assert command.flag("fail-swap-on") == "true"
    assert command.flag("absent", "x") == "true"
    assert command.flag("absent") is None


@pytest.mark.parametrize(
    "words",
    [
        [
            "/bin/sh",
            "-c",
            "exec /usr/local/bin/kube-apiserver --service-cluster-ip-range=10.0.0.0/16 1>>/var/log/x 2>&1",
        ],
        [
            "/bin/sh",
            "-c",
            "mkfifo /p; (tee -a /l < /p & ) ; exec kube-apiserver --service-cluster-ip-range 10.0.0.0/16 > /p",
        ],
        # the same as `ps` prints it, without the quotes
        "/bin/sh -c exec kube-apiserver --service-cluster-ip-range=10.0.0.0/16 2>&1".split(),
        [
            "/go-runner",
            "--log-file=/l",
            "--redirect-stderr=true",
            "/kube-apiserver",
            "--service-cluster-ip-range=10.0.0.0/16",
        ],
        ["/hyperkube", "kube-apiserver", "--service-cluster-ip-range=10.0.0.0/16"],
        ["hyperkube", "apiserver", '--service-cluster-ip-range="10.0.0.0/16"'],
        ["env", "GOGC=50", "kube-apiserver", "--service-cluster-ip-range='10.0.0.0/16'"],
        ["/bin/sh", "-c", "kube-apiserver --service-cluster-ip-range=10.0.0.0/16; sleep 1"],
        ["/bin/sh", "-c", "kube-apiserver --service-cluster-ip-range 10.0.0.0/16; sleep --x"],
        ["bash", "-ec", "true", "-c", "kube-apiserver '--service-cluster-ip-range=10.0.0.0/16"],
    ],
)
def test_launchers_shells_and_redirections(words: list[str]) -> None:
    command = parse_command(words)
    assert command is not None
    assert command.component == "kube-apiserver"
    assert command.flag("service-cluster-ip-range") == "10.0.0.0/16"
    assert command.flag("x") is None


@pytest.mark.parametrize(
    "words",
    [
        ["grep", "kube-apiserver"],
        ["vi", "/etc/kubernetes/manifests/kube-apiserver"],
        ["/bin/sh", "/usr/bin/kube-apiserver"],
        ["/bin/sh", "-c", "grep kube-proxy /x"],
        ["k3s", "kubectl"],
        ["k3s"],
        ["hyperkube", "--help"],
        [],
    ],
)
def test_other_programs_are_no_components(words: list[str]) -> None:
    assert parse_command(words) is None


def test_k3s_hands_flags_to_what_it_holds() -> None:
    command = parse_command(
        (
            "/usr/local/bin/k3s server --cluster-cidr 10.42.0.0/16 --kube-proxy-arg=proxy-mode=ipvs "
            "--kube-proxy-arg=--masquerade-all=true"
        ).split()
    )
    assert command is not None
    assert command.component == "k3s server"
    assert command.all_in_one
    assert command.flag("cluster-cidr") == "10.42.0.0/16"
    proxy = command.embedded("kube-proxy")
    assert proxy.component == "kube-proxy"
    assert proxy.flags == (("proxy-mode", "ipvs"), ("masquerade-all", "true"))


def test_flags_end_at_a_double_dash_and_lone_dashes_are_nothing() -> None:
    assert parse_flags(["--a=1", "-", "word", "--b", "--", "--c=2"]) == (("a", "1"), ("b", "true"))


def test_unquote_takes_away_whole_and_half_quotes() -> None:
    assert unquote('"a b"') == "a b"
    assert unquote("'a") == "a"
    assert unquote("a") == "a"


@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_words_are_survived(words: list[str]) -> None:
    parse_command(words)
    parse_command(["sh", "-c", *words])
    parse_flags(words)
