"""The lines of sudoers that the README names: they are enough, all of them are used, and nothing else is asked."""

from __future__ import annotations

import re

import pytest

from kdiag.gather.framing import parse_about, parse_output
from kdiag.gather.script import SUDO_COMMANDS, Sudo, node_script, sudoers_entries
from kdiag.gather.transports import NodeAddress, transport_of
from tests.lab.gathering import gather, settings, settled, settled_state, without_counters
from tests.lab.nodes import PLAIN_USER, USER, Lab
from tests.lab.readme import readme_sudoers


def entries(block: str) -> set[str]:
    commands = re.sub(r"\\\n *", "", block).splitlines()[0].partition("=")[2]
    return {" ".join(entry.split()) for entry in commands.split(",")}


# Both ways to have iptables, both to have nft, and IPVS, which the kernel here may not have: a table and a program of ours.
NODES = {
    "sudo-nft": {"programs": {"ipvsadm": "echo '-A -t 10.96.0.1:443 -s rr'"}},
    "sudo-legacy": {
        "backend": "legacy",
        "programs": {"nft": '[ "$1" != -j ] || exit 1; exec /mnt/real-sbin/nft "$@"', "ipvsadm": "exit 1"},
    },
}


def test_the_readme_has_what_the_script_needs() -> None:
    paths = {program: f"/usr/{'bin' if program == 'ss' else 'sbin'}/{program}" for program in SUDO_COMMANDS}
    assert entries(readme_sudoers()) == entries(f"KDIAG = {sudoers_entries(paths)}\n")


def test_sudoers_of_the_readme_are_enough_and_all_of_them_are_used(lab: Lab) -> None:
    used: set[str] = set()
    for name, made in NODES.items():
        node = lab.start(name, sudoers=f"Defaults logfile=/mnt/sudo.log\n{readme_sudoers()}", **made)  # type: ignore[arg-type]
        for family in ("ip", "ip6"):
            node.run_in_network(f"{family}tables-legacy", "-t", "nat", "-N", "KUBE-OLD")
            node.run_in_network(f"{family}tables-nft", "-t", "nat", "-N", "KUBE-NEW")
        node.run_in_network("nft", "add", "table", "inet", "kube-proxy")
        node.run_in_network("ipset", "create", "KUBE-CLUSTER-IP", "hash:ip,port")
        (node.directory / "ip_vs").write_text("IP Virtual Server version 1.2.1 (size=4096)\n")
        before = without_counters(node.state())

        script = node_script(guarded=True).replace("/proc/net/ip_vs", "/mnt/ip_vs")
        transport = transport_of("ssh", settings(lab, [node], user=USER))
        address = NodeAddress(node=name, host=node.address)
        output = transport.run(address, script, timeout_s=20, max_bytes=1 << 20, on_bytes=lambda count: None)
        transport.close()

        recordings, gaps = parse_output(output.stdout, node=name)
        dumps = {probe for probe in recordings if re.search(r"-save|^nft-|ip_vs|^ss", probe)}
        both = {"iptables-save", "ip6tables-save", "ipset-save", "nft-list-tables", "ss-ltnuH"}
        if name == "sudo-nft":
            assert gaps == ()
            wanted = {"iptables-legacy-save", "ip6tables-legacy-save", "nft-j-list-ruleset", "ipvsadm-save-n"}
        else:
            assert [gap.subject for gap in gaps] == [f"nodes/{name}/ipvsadm-save-n.txt"]
            wanted = {"iptables-nft-save", "ip6tables-nft-save", "nft-list-ruleset", "proc-net-ip_vs"}
        assert dumps == both | wanted
        assert recordings["ipset-save"].text().startswith("create KUBE-CLUSTER-IP")
        assert 'users:(("sshd"' in recordings["ss-ltnuH"].text()
        assert "kube-proxy" in (recordings.get("nft-j-list-ruleset") or recordings["nft-list-ruleset"]).text()
        assert settled_state(node, before) == before

        about = parse_output(
            node.run("su", "-s", "/bin/sh", USER, text=node_script(check_only=True)).encode(), node=name
        )[0]["kdiag-node"]
        assert parse_about(about)["sudo"] == "allowed"
        assert parse_about(about)["sudo-refused"] == ""
        log = re.sub(r"\n +", " ", (node.directory / "sudo.log").read_text())
        assert "not allowed" not in log
        used |= {command.strip() for command in re.findall(r"COMMAND=(\S.*)", log)}
    assert used == {entry.replace(' ""', "") for entry in entries(readme_sudoers())}


def test_nothing_else_is_permitted(lab: Lab) -> None:
    node = lab.start("sudo-tight", sudoers=readme_sudoers())
    for command in (
        "/usr/sbin/iptables-save -c",
        "/usr/sbin/iptables-save --modprobe=/bin/sh",
        "/usr/sbin/nft -f /tmp/x",
        "/usr/sbin/nft flush ruleset",
        "/usr/sbin/ipset flush",
        "/bin/sh",
    ):
        said = node.run("su", "-s", "/bin/sh", USER, "-c", f"sudo -n {command} 2>&1 || true")
        assert said.startswith("sudo: a password is required"), command


def test_a_command_that_hangs_as_root_is_ended_by_sudo(lab: Lab) -> None:
    """A user can end no process of root's: the time-out of the README's line does."""
    block = readme_sudoers()
    assert "TIMEOUT=10m" in block
    node = lab.start("sudo-hung", sudoers=block.replace("10m", "3s"), programs={"iptables-save": "exec sleep 1000"})
    before = node.state()["processes"]
    recordings, gaps = gather([node], settings(lab, [node], user=USER), timeout_s=1.5)
    assert recordings == {}
    assert "while it read iptables-save" in gaps["sudo-hung"].reason
    assert settled(node, before) == before


@pytest.mark.parametrize("user", ["root", USER])
def test_always(lab: Lab, user: str) -> None:
    """Root's commands go through sudo, too, and its log has them."""
    node = lab.start(f"always-{user}", sudoers=f"Defaults logfile=/mnt/sudo.log\n{readme_sudoers()}")
    recordings, gaps = gather([node], settings(lab, [node], user=user), sudo=Sudo.ALWAYS)
    assert gaps == {}
    assert b"KUBE-SERVICES" in recordings[node.node]["iptables-save"].content
    assert parse_about(recordings[node.node]["kdiag-node"])["sudo"] == "allowed"
    log = (node.directory / "sudo.log").read_text()
    assert f" {user} : PWD=" in log
    assert "COMMAND=/usr/sbin/iptables-save" in log


def test_never(lab: Lab) -> None:
    """One precise gap; what a user may see is there."""
    node = lab.start("never", sudoers=f"Defaults logfile=/mnt/sudo.log\n{readme_sudoers()}")
    recordings, gaps = gather([node], settings(lab, [node], user=USER), sudo=Sudo.NEVER)
    assert (gaps["never"].subject, len(gaps)) == ("sudo", 1)
    assert "iptables-save" in gaps["never"].reason
    assert "let kdiag use sudo" in gaps["never"].reason
    assert {"ip-addr", "ip-route", "ss-ltnuH", "sysctls", "ps-ef"} <= set(recordings["never"])
    assert "iptables-save" not in recordings["never"]
    assert not (node.directory / "sudo.log").exists()


def test_no_sudo_on_the_node(lab: Lab) -> None:
    node = lab.start("without-sudo", hide=["sudo"])
    for sudo in (Sudo.IF_NEEDED, Sudo.ALWAYS):
        recordings, gaps = gather([node], settings(lab, [node], user=PLAIN_USER), sudo=sudo)
        assert [gap.subject for gap in gaps.values()] == ["sudo"]
        assert recordings["without-sudo"]["ip-addr"].content
        assert parse_about(recordings["without-sudo"]["kdiag-node"])["sudo"] == "missing"
    assert gather([node], settings(lab, [node]))[1] == {}
