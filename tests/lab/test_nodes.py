"""Nodes asked for real: sshd, sudo, iptables and every failure of the list, without a double in between."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kdiag.gather.framing import parse_about
from kdiag.gather.transports import NodeAddress
from kdiag.parse.host import parse_host
from kdiag.planes.rulesets import read_rulesets
from tests.lab.gathering import gather, settings, settled, without_counters
from tests.lab.nodes import END_SSHD, PLAIN_USER, USER, Lab, LabNode

ANSWERS = """
import http.server, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/proxyMode": b"iptables", "/configz": b'{"kubeproxy.config.k8s.io": {"mode": "iptables"}}'}.get(self.path)
        self.send_response(503 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b'{"lastUpdated": "2026-01-01T00:00:00Z", "currentTime": "2026-01-01T00:01:00Z"}')

threading.Thread(target=http.server.HTTPServer(("127.0.0.1", 10256), Handler).serve_forever, daemon=True).start()
http.server.HTTPServer(("127.0.0.1", 10249), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def healthy(lab: Lab) -> LabNode:
    node = lab.start("healthy")
    node.background.append(node.start("python3", "-c", ANSWERS))
    node.background.append(node.start("bash", "-c", "exec -a /usr/local/bin/kube-proxy tail -f /dev/null"))
    node.wait_for("http://127.0.0.1:10249/proxyMode")
    return node


@pytest.fixture(scope="module")
def second(lab: Lab) -> LabNode:
    return lab.start("second")


@pytest.mark.parametrize("user", ["root", USER])
def test_healthy_node_is_read_and_left_as_it_was(lab: Lab, healthy: LabNode, user: str) -> None:
    before = without_counters(healthy.state())
    recordings, gaps = gather([healthy], settings(lab, [healthy], user=user))
    assert gaps == {}
    probes = recordings["healthy"]
    rulesets, ruleset_gaps = read_rulesets("healthy", probes, "iptables v1.8.9 (nf_tables)")
    assert ruleset_gaps == ()
    chains = {chain for ruleset in rulesets for table in ruleset.tables.values() for chain in table.chains}
    assert "KUBE-SVC-NPX46M4PTMTKRN6Y" in chains
    assert b'--comment "default/kubernetes:https cluster IP"' in probes["iptables-save"].content
    host, host_gaps = parse_host(probes, node="healthy")
    assert host_gaps == ()
    assert healthy.address in {str(item.address) for item in host.addresses or ()}
    assert host.proxy_mode_answer == "iptables"
    assert host.health is not None
    assert host.health.behind_s == 60
    assert ["/usr/local/bin/kube-proxy", "-f", "/dev/null"] in [list(item.argv) for item in host.processes or ()]
    assert 22 in {socket.port for socket in host.sockets or ()}
    assert host.sysctls["net.ipv4.ip_forward"] in ("0", "1")
    assert parse_about(probes["kdiag-node"])["user"] == user
    assert settled(healthy, before["processes"]) == before["processes"]
    assert without_counters(healthy.state()) == before


def test_each_failure_is_one_gap_and_the_others_are_read(lab: Lab, healthy: LabNode) -> None:
    refused = lab.start("refused", sshd=False)
    dropped = lab.start("dropped", sshd=False)
    dropped.run_in_network("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP")
    wrong_key = lab.start("wrong-key")
    unknown_key = lab.start("unknown-key")
    no_iptables = lab.start("no-iptables", hide=["iptables-save"])
    cut = lab.start("cut", programs={"iptables-save": END_SSHD})
    hung = lab.start("hung", programs={"iptables-save": "echo '*nat'; sleep 1000"})
    silent = lab.start("silent", programs={"ss": "sleep 1000"})
    bytes_inside = lab.start("bytes", programs={"iptables-save": "printf '# \\377\\376\\n'; exec iptables-nft-save"})
    noisy = lab.start("noisy", programs={"iptables-save": "cat /dev/urandom"})
    failing = lab.start("failing", programs={"iptables-save": "echo 'iptables-save: Bad things' >&2; exit 3"})
    nodes = [healthy, refused, dropped, wrong_key, unknown_key, no_iptables, cut, hung, silent, bytes_inside]
    nodes += [noisy, failing]
    given = settings(lab, [node for node in nodes if node.process is not None and node is not unknown_key])
    known = given.known_hosts[0]
    lines = known.read_text().splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith(wrong_key.address))
    lines[place] = f"{wrong_key.address} {healthy.host_key()}"
    known.write_text("\n".join(lines) + "\n")
    before = {node.node: node.state()["processes"] for node in (cut, hung, noisy)}
    addresses = [NodeAddress(node=node.node, host=node.address) for node in nodes]
    addresses.append(NodeAddress(node="stranger", host=healthy.address, user=PLAIN_USER, key_file="/dev/null"))
    addresses.append(NodeAddress(node="no-sudo", host=healthy.address, user=PLAIN_USER))

    recordings, gaps = gather(addresses, given, parallel=32, timeout_s=4)

    assert set(recordings) == {"healthy", "no-iptables", "no-sudo", "bytes", "failing", "silent"}
    assert set(gaps) == {node.node for node in nodes} - {"healthy", "bytes", "failing"} | {"stranger", "no-sudo"}
    reasons = {node: gap.reason for node, gap in gaps.items()}
    assert "port 22 refuses connections" in reasons["refused"]
    assert "port 22 does not answer within 1.5 s" in reasons["dropped"]
    assert "has changed" in reasons["wrong-key"]
    assert f"{known}:{place + 1} has ssh-ed25519 SHA256:" in reasons["wrong-key"]
    assert f"ssh-keygen -R '{wrong_key.address}' -f {known}" in reasons["wrong-key"]
    assert f"`ssh-keyscan {unknown_key.address} >> {known}`" in reasons["unknown-key"]
    assert f"{healthy.address} does not let {PLAIN_USER} in" in reasons["stranger"]
    assert gaps["no-sudo"].subject == "sudo"
    assert "sudo: a password is required" in reasons["no-sudo"]
    assert f"{PLAIN_USER} ALL=(root) NOPASSWD: " in reasons["no-sudo"]
    assert "iptables-save" not in recordings["no-sudo"]
    assert recordings["no-sudo"]["ip-addr"].content
    assert gaps["no-iptables"].subject == "iptables-save"
    assert "there is no iptables-save on the node" in reasons["no-iptables"]
    assert "the connection was cut after " in reasons["cut"]
    assert "while it read iptables-save" in reasons["cut"]
    assert "given up after 4 s" in reasons["hung"]
    assert "while it read iptables-save" in reasons["hung"]
    assert "while it read ss-ltnuH" in reasons["silent"]
    assert b"KUBE-SERVICES" in recordings["silent"]["iptables-save"].content
    assert "it sent more than 4 MiB" in reasons["noisy"]
    assert "\N{REPLACEMENT CHARACTER}" in recordings["bytes"]["iptables-save"].text()
    assert b"KUBE-SERVICES" in recordings["bytes"]["iptables-save"].content
    assert recordings["failing"]["iptables-save"].exit_status == 3
    assert recordings["failing"]["iptables-save"].stderr == "iptables-save: Bad things\n"
    for node in (cut, hung, noisy):
        assert settled(node, before[node.node]) == before[node.node]


def test_hung_sudo_command_is_ended(lab: Lab) -> None:
    node = lab.start("hung-sudo", programs={"iptables-save": "exec sleep 1000"})
    before = node.state()["processes"]
    recordings, gaps = gather([node], settings(lab, [node], user=USER), timeout_s=2)
    assert recordings == {}
    assert "while it read iptables-save" in gaps["hung-sudo"].reason
    assert settled(node, before) == before


@pytest.mark.parametrize("user", [USER, PLAIN_USER])
def test_banner_in_front(lab: Lab, user: str) -> None:
    node = lab.start(
        f"banner-{user}",
        banner="Keep out\n",
        bashrc="echo 'Welcome to kdiag:0123456789abcdef0123456789abcdef:stream:plain'; printf 'no end of line'",
    )
    recordings, gaps = gather([node], settings(lab, [node], user=user))
    assert b"LOOPBACK" in recordings[node.node]["ip-addr"].content
    assert [gap.subject for gap in gaps.values()] == ([] if user == USER else ["sudo"])


def test_shell_that_runs_nothing(lab: Lab) -> None:
    node = lab.start("locked", bashrc="echo This account is closed.; exit 1")
    recordings, gaps = gather([node], settings(lab, [node], user=USER))
    assert recordings == {}
    assert "'This account is closed.'" in gaps["locked"].reason


@pytest.mark.parametrize("parallel", [1, 32])
def test_several_nodes(lab: Lab, healthy: LabNode, second: LabNode, parallel: int) -> None:
    addresses = [NodeAddress(node=f"n{number}", host=(healthy, second)[number % 2].address) for number in range(4)]
    recordings, gaps = gather(addresses, settings(lab, [healthy, second]), parallel=parallel)
    assert gaps == {}
    assert list(recordings) == ["n0", "n1", "n2", "n3"]


def test_new_host_keys_are_accepted_once_and_changed_ones_never(lab: Lab, second: LabNode) -> None:
    given = settings(lab, accept_new_host_keys=True)
    assert gather([second], given)[1] == {}
    known = given.known_hosts[0]
    assert known.read_text() == f"{second.address} {second.host_key()}\n"
    assert gather([second], replace(given, accept_new_host_keys=False))[1] == {}
    other = lab.key.with_suffix(".pub").read_text().split()
    known.write_text(f"{second.address} {other[0]} {other[1]}\n")
    assert "has changed" in gather([second], given)[1]["second"].reason
    assert known.read_text().count("\n") == 1


def test_through_a_jump_host(lab: Lab, healthy: LabNode, second: LabNode) -> None:
    # Only the jump host gets through: to the client the second node's port is closed.
    closed = ("-p", "tcp", "--dport", "22", "-s", "10.77.0.1", "-j", "REJECT")
    second.run_in_network("iptables-nft", "-I", "INPUT", *closed)
    try:
        config = lab.directory / "jump_config"
        config.write_text(f"Host {healthy.address}\n  User root\n  IdentityFile {lab.key}\n")
        given = settings(lab, [healthy, second], jump=healthy.address, config_file=config)
        recordings, gaps = gather([second], given)
        assert gaps == {}
        assert "iptables-save" in recordings["second"]
        proxied = lab.directory / "proxy_config"
        proxied.write_text(f"Host {second.address}\n  ProxyCommand ssh -F /dev/null -o BatchMode=yes ")
        with proxied.open("a") as file:
            file.write(f"-o UserKnownHostsFile={given.known_hosts[0]} -i {lab.key} -W %h:%p root@{healthy.address}\n")
        recordings, gaps = gather([second], settings(lab, [second], config_file=proxied))
        assert gaps == {}
        assert "iptables-save" in recordings["second"]
        beyond = NodeAddress(node="beyond", host="10.77.0.250")
        assert "does not reach 10.77.0.250 port 22" in gather([beyond], given)[1]["beyond"].reason
        unknown = replace(given, known_hosts=(Path(lab.directory / "nothing"),))
        assert gather([second], unknown)[1]["second"].reason.startswith(f"jump host {healthy.address}: the host key of")
    finally:
        second.run_in_network("iptables-nft", "-D", "INPUT", *closed)


def test_password_is_asked_for_once_and_stays_out_of_messages(lab: Lab, second: LabNode) -> None:
    asked: list[str] = []

    def ask(word: str) -> str:
        asked.append(word)
        return word

    given = settings(lab, [second], user=USER, key_file="/dev/null", password=lambda: ask("correct horse"))
    twice = [NodeAddress(node="a", host=second.address), NodeAddress(node="b", host=second.address)]
    recordings, gaps = gather(twice, given)
    assert gaps == {}
    assert set(recordings) == {"a", "b"}
    assert asked == ["correct horse"]
    wrong = replace(given, password=lambda: ask("battery staple"))
    reason = gather([second], wrong)[1]["second"].reason
    assert "the password" in reason
    assert "battery" not in reason


def test_interruption_ends_the_runs_and_leaves_no_process(lab: Lab, second: LabNode) -> None:
    node = lab.start("slow", programs={"iptables-save": "sleep 1000"})
    before = node.state()["processes"]
    cancelled = threading.Event()
    threading.Timer(3, cancelled.set).start()
    started = time.monotonic()
    recordings, gaps = gather([node, second], settings(lab, [node, second]), cancelled=cancelled, timeout_s=60)
    assert time.monotonic() - started < 10
    assert list(recordings) == ["second"]
    assert gaps["slow"].reason == "it was not read: the run was interrupted"
    assert settled(node, before) == before


def test_total_deadline(lab: Lab, second: LabNode) -> None:
    node = lab.start("slower", programs={"iptables-save": "sleep 1000"})
    addresses = [NodeAddress(node=f"n{number}", host=node.address) for number in range(3)]
    recordings, gaps = gather(addresses, settings(lab, [node]), parallel=1, timeout_s=60, deadline_s=1.5)
    assert recordings == {}
    assert {gap.reason.partition(";")[0] for gap in gaps.values()} == {"it was not read before the total time was over"}


def test_legacy_rules_beside_nft_ones(lab: Lab) -> None:
    node = lab.start("both")
    node.run_in_network("iptables-legacy", "-t", "nat", "-N", "KUBE-OLD")
    before = without_counters(node.state())
    recordings, gaps = gather([node], settings(lab, [node]))
    assert gaps == {}
    assert b":KUBE-OLD" in recordings["both"]["iptables-legacy-save"].content
    assert b":KUBE-SERVICES" in recordings["both"]["iptables-save"].content
    assert "ip6tables-legacy-save" not in recordings["both"]
    assert without_counters(node.state())["legacy tables"] == before["legacy tables"] == "nat\n"
