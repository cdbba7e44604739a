"""The node script under every shell that is here, with programs of our own in front of the machine's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from kdiag.gather.framing import encodings, parse_about, parse_output
from kdiag.gather.script import SUDO_COMMANDS, Sudo, new_nonce, node_script, sudoers_entries
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording

SHELLS = [
    pytest.param(shell, marks=[] if shutil.which(shell[0]) else pytest.mark.skip(reason=f"there is no {shell[0]}"))
    for shell in (("dash",), ("bash",), ("busybox", "sh"))
]
RULES = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"
PROGRAMS = {
    "iptables": "echo 'iptables v1.8.9 (nf_tables)'",
    "ip6tables": "echo 'ip6tables v1.8.9 (nf_tables)'",
    "ip6tables-save": "echo ip6tables-save \"$@\" >>LOG; echo 'no IPv6 here' >&2; exit 1",
    "iptables-nft-save": 'echo iptables-nft-save "$@" >>LOG',
    "iptables-legacy-save": 'echo iptables-legacy-save "$@" >>LOG',
    "ip6tables-legacy-save": 'echo ip6tables-legacy-save "$@" >>LOG',
    "nft": 'echo nft "$@" >>LOG',
    "ipset": ":",
    "curl": "echo iptables",
    "sudo": 'echo sudo "$@" >>LOG; while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
}


def ran(
    tmp_path: Path,
    script: str,
    changes: Mapping[str, str],
    shell: tuple[str, ...] = ("sh",),
) -> tuple[dict[str, Recording], tuple[Gap, ...], list[str]]:
    """The recordings and gaps that the script leads to, and the commands that were run."""
    recordings, gaps = parse_output(printed(tmp_path, script, changes, shell), node="n1")
    return recordings, gaps, (tmp_path / "log").read_text().splitlines()


def printed(tmp_path: Path, script: str, changes: Mapping[str, str], shell: tuple[str, ...] = ("sh",)) -> bytes:
    """What the script prints."""
    programs = {**PROGRAMS, "iptables-save": f'echo iptables-save "$@" >>LOG\ncat {tmp_path}/rules', **changes}
    (tmp_path / "rules").write_text(RULES)
    log = tmp_path / "log"
    log.touch()
    _write(tmp_path / "bin", {key: text.replace("LOG", str(log)) for key, text in programs.items()})
    done = subprocess.run(
        shell,
        input=script.encode(),
        capture_output=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    return done.stdout


def _write(directory: Path, programs: Mapping[str, str]) -> None:
    directory.mkdir()
    for program, text in programs.items():
        (directory / program).write_text(f"#!/bin/sh\n{text}\n")
        (directory / program).chmod(0o755)


def _needs_nf_tables(recordings: Mapping[str, Recording]) -> None:
    if recordings["iptables-save"].stderr.startswith("nf_tables is not in the kernel"):
        pytest.skip("nf_tables is not in this machine's kernel, so that it is not asked")


@pytest.mark.parametrize("shell", SHELLS)
def test_root_asks_each_backend_once_and_needs_no_sudo(tmp_path: Path, shell: tuple[str, ...]) -> None:
    if shell[0] == "busybox" and os.geteuid() != 0:
        pytest.skip("busybox takes its own `id`, and this is not root")
    recordings, gaps, commands = ran(tmp_path, node_script(), {"id": "echo 0"}, shell)
    _needs_nf_tables(recordings)
    assert gaps == ()
    assert recordings["iptables-save"].content == RULES.encode()
    assert recordings["iptables-save"].exit_status == 0
    assert recordings["iptables-save"].source == "nodes/n1/iptables-save.txt"
    assert recordings["ip6tables-save"].exit_status == 1
    assert recordings["ip6tables-save"].stderr == "no IPv6 here\n"
    assert recordings["proxyMode"].text() == "iptables\n"
    assert recordings["iptables-version"].text() == "iptables v1.8.9 (nf_tables)\n"
    assert (
        commands.count("iptables-save")
        == commands.count("ip6tables-save")
        == commands.count("nft list flowtables")
        == 1
    )
    assert not [command for command in commands if command.startswith("sudo") or " -t" in command]
    assert parse_about(recordings["kdiag-node"])["sudo"] == "not needed"


# busybox takes its own `id` and not the one in front.
@pytest.mark.parametrize("shell", SHELLS[:2])
def test_others_go_through_sudo_without_a_password(tmp_path: Path, shell: tuple[str, ...]) -> None:
    recordings, gaps, commands = ran(tmp_path, node_script(), {"id": "echo 1000"}, shell)
    _needs_nf_tables(recordings)
    assert gaps == ()
    assert f"sudo -n -k {tmp_path}/bin/iptables-save" in commands
    assert f"sudo -n -k {tmp_path}/bin/ip6tables-save" in commands
    assert all(command.startswith("sudo -n -k ") for command in commands if command.startswith("sudo"))
    assert recordings["iptables-save"].content == RULES.encode()
    assert parse_about(recordings["kdiag-node"])["sudo"] == "allowed"


@pytest.mark.parametrize("user", ["0", "1000"])
def test_sudo_always(tmp_path: Path, user: str) -> None:
    """Even root's commands go through sudo: for those who look at what sudo logs."""
    recordings, gaps, commands = ran(tmp_path, node_script(sudo=Sudo.ALWAYS), {"id": f"echo {user}"})
    _needs_nf_tables(recordings)
    assert gaps == ()
    assert f"sudo -n -k {tmp_path}/bin/iptables-save" in commands
    assert f"sudo -n -k {tmp_path}/bin/nft list flowtables" in commands
    assert parse_about(recordings["kdiag-node"])["sudo"] == "allowed"


def test_sudo_always_where_there_is_none(tmp_path: Path) -> None:
    script = node_script(sudo=Sudo.ALWAYS).replace('command -v "$1"', '[ "$1" != sudo ] && command -v "$1"')
    recordings, gaps, commands = ran(tmp_path, script, {"id": "echo 0"})
    assert "iptables-save" not in commands
    assert parse_about(recordings["kdiag-node"])["sudo"] == "missing"
    if "iptables-save" in recordings:
        _needs_nf_tables(recordings)
    (gap,) = gaps
    assert gap.subject == "sudo"
    assert "there is none on this node" in gap.reason


def test_what_sudo_refuses_is_told_when_only_that_is_asked(tmp_path: Path) -> None:
    sudo = 'case "$*" in *" -l "*ip6tables-save | *" -l "*"ruleset") exit 1 ;; esac; exit 0'
    recordings, _, _ = ran(tmp_path, node_script(check_only=True), {"id": "echo 1000", "sudo": sudo})
    about = parse_about(recordings["kdiag-node"])
    assert about["sudo"] == "allowed"
    assert about["sudo-refused"].split() == ["ip6tables-save", "nft"]


def test_lines_of_sudoers_have_no_open_arguments() -> None:
    paths = {program: f"/sbin/{program}" for program in SUDO_COMMANDS}
    entries = sudoers_entries(paths).split(", ")
    assert '/sbin/iptables-save ""' in entries
    assert "/sbin/nft -j list ruleset" in entries
    assert all(" " in entry and "*" not in entry for entry in entries)


def test_sudo_can_be_left_out(tmp_path: Path) -> None:
    recordings, gaps, commands = ran(
        tmp_path,
        node_script(sudo=Sudo.NEVER),
        {"id": "echo 1000", "iptables-save": "echo 'Permission denied (you must be root)' >&2; exit 4"},
    )
    if "iptables-save" in recordings:
        _needs_nf_tables(recordings)
    assert not [command for command in commands if command.startswith("sudo")]
    (gap,) = gaps
    assert gap.subject == "sudo"
    assert "1000 is not root and may not run iptables-save" in gap.reason
    assert "let kdiag use sudo" in gap.reason


def _nft(*tables: str) -> str:
    listed = "".join(f"echo 'table {table} {{'; echo '}}'; " for table in tables)
    return f'echo nft "$@" >>LOG\ncase "$*" in\n*flowtables*) {listed}: ;;\n*ruleset*) echo "{{}}" ;;\nesac'


IPTABLES_OWN = ("ip nat", "ip filter", "ip mangle", "ip6 raw", "bridge broute", "arp filter")


@pytest.mark.parametrize("table", ["ip kube-proxy", "ip6 kube-proxy", "inet firewalld", "ip natural"])
def test_nft_is_asked_once_where_there_is_more_than_iptables_shows(tmp_path: Path, table: str) -> None:
    recordings, gaps, commands = ran(tmp_path, node_script(), {"id": "echo 0", "nft": _nft(*IPTABLES_OWN, table)})
    _needs_nf_tables(recordings)
    assert gaps == ()
    assert recordings["nft-j-list-ruleset"].text() == "{}\n"
    assert recordings["iptables-save"].content == RULES.encode()
    assert "nft-list-ruleset" not in recordings
    assert commands.count("nft -j list ruleset") == 1
    assert recordings["nft-list-tables"].text().splitlines() == [f"table {item}" for item in (*IPTABLES_OWN, table)]


@pytest.mark.parametrize("tables", [(), IPTABLES_OWN])
def test_nft_is_not_asked_for_what_iptables_shows(tmp_path: Path, tables: tuple[str, ...]) -> None:
    recordings, gaps, commands = ran(tmp_path, node_script(), {"id": "echo 0", "nft": _nft(*tables)})
    _needs_nf_tables(recordings)
    assert gaps == ()
    assert "nft-j-list-ruleset" not in recordings
    assert not [command for command in commands if "ruleset" in command]


def test_tables_of_others_come_after_the_rules_and_those_of_kube_proxy_with_them(tmp_path: Path) -> None:
    for number, (table, is_essential) in enumerate([("inet firewalld", False), ("ip kube-proxy", True)]):
        directory = tmp_path / str(number)
        directory.mkdir()
        stdout = printed(directory, node_script(), {"id": "echo 0", "nft": _nft(table)})
        if b"begin:nft-list-tables" not in stdout:
            pytest.skip("nf_tables is not in this machine's kernel, so that it is not asked")
        before, _, _ = stdout.partition(b":rules\n")
        assert (b"begin:nft-j-list-ruleset.json" in before) is is_essential


def test_an_nft_that_knows_no_flowtables(tmp_path: Path) -> None:
    nft = 'echo nft "$@" >>LOG; case "$*" in *flowtables) exit 1 ;; *tables) echo table ip kube-proxy ;; *) echo "{}" ;; esac'
    recordings, _, _ = ran(tmp_path, node_script(), {"id": "echo 0", "nft": nft})
    _needs_nf_tables(recordings)
    assert recordings["nft-j-list-ruleset"].text() == "{}\n"


def test_nft_that_fails_is_a_gap(tmp_path: Path) -> None:
    recordings, gaps, _ = ran(tmp_path, node_script(), {"id": "echo 0", "nft": "echo 'netlink: Broken' >&2; exit 1"})
    _needs_nf_tables(recordings)
    (gap,) = gaps
    assert "netlink: Broken" in gap.reason
    assert gap.subject.startswith("nodes/n1/nft-")


def test_nft_without_json(tmp_path: Path) -> None:
    nft = (
        'case "$*" in\n-j*) exit 1 ;;\n*tables*) echo table ip kube-proxy ;;\n*) echo "table ip kube-proxy {}" ;;\nesac'
    )
    recordings, _, _ = ran(tmp_path, node_script(), {"id": "echo 0", "nft": nft})
    _needs_nf_tables(recordings)
    assert recordings["nft-list-ruleset"].text() == "table ip kube-proxy {}\n"
    assert "nft-j-list-ruleset" not in recordings


VIRTUAL_SERVERS = "-A -t 10.96.0.1:443 -s rr\n"


def _with_ip_vs(directory: Path) -> str:
    """The script for a kernel with IPVS: what it reads of /proc/net/ip_vs is a file of ours."""
    (directory / "ip_vs").write_text("IP Virtual Server version 1.2.1 (size=4096)\n")
    return node_script().replace("/proc/net/ip_vs", str(directory / "ip_vs"))


def test_virtual_servers(tmp_path: Path) -> None:
    ipvsadm = f'echo ipvsadm "$@" >>LOG; echo "{VIRTUAL_SERVERS.strip()}"'
    recordings, gaps, commands = ran(tmp_path, _with_ip_vs(tmp_path), {"id": "echo 0", "ipvsadm": ipvsadm})
    assert gaps == ()
    assert recordings["ipvsadm-save-n"].text() == VIRTUAL_SERVERS
    assert "ipvsadm -S -n" in commands
    assert "proc-net-ip_vs" not in recordings


@pytest.mark.parametrize("ipvsadm", [None, "echo 'ipvsadm: Permission denied (you must be root)' >&2; exit 255"])
def test_virtual_servers_without_ipvsadm(tmp_path: Path, ipvsadm: str | None) -> None:
    script = _with_ip_vs(tmp_path)
    if ipvsadm is None:
        script = script.replace("if has ipvsadm", "if false")
    recordings, gaps, _ = ran(tmp_path, script, {"id": "echo 0", "ipvsadm": ipvsadm or "exit 1"})
    assert recordings["proc-net-ip_vs"].text().startswith("IP Virtual Server")
    assert "ipvsadm-save-n" not in recordings
    assert [gap.subject for gap in gaps] == ([] if ipvsadm is None else ["sudo"])


def test_ipvs_is_not_asked_where_the_kernel_has_none(tmp_path: Path) -> None:
    if Path("/proc/net/ip_vs").exists():
        pytest.skip("this machine's kernel has IPVS")
    recordings, _, commands = ran(tmp_path, node_script(), {"id": "echo 0", "ipvsadm": 'echo ipvsadm "$@" >>LOG'})
    assert not [command for command in commands if command.startswith("ipvsadm")]
    assert not {"ipvsadm-save-n", "proc-net-ip_vs"} & set(recordings)


def test_sets(tmp_path: Path) -> None:
    recordings, _, commands = ran(
        tmp_path, node_script(), {"id": "echo 0", "ipset": 'echo ipset "$@" >>LOG; echo create'}
    )
    if "ipset-save" not in recordings:
        pytest.skip("ip_set is not in this machine's kernel, so that it is not asked")
    assert commands.count("ipset save") == 1
    assert recordings["ipset-save"].text() == "create\n"


def test_modules_are_told_by_name(tmp_path: Path) -> None:
    names = (
        "ip_vs ip_vs_rr ip_tables nf_tables nft_chain_nat xt_set snd_pcm br_netfilter bridge x_tables ip6table_nat ext4"
    )
    (tmp_path / "modules").write_text("".join(f"{name} 16384 1 - Live 0x0\n" for name in names.split()))
    script = node_script().replace("/proc/modules", str(tmp_path / "modules"))
    recordings, _, commands = ran(tmp_path, script, {"id": "echo 0"})
    wanted = [name for name in names.split() if name not in ("snd_pcm", "bridge", "ext4")]
    assert recordings["proc-modules"].text().split() == wanted
    assert "nft list flowtables" in commands  # nf_tables is among them


def test_a_module_that_is_not_there_is_not_asked_for(tmp_path: Path) -> None:
    """Unless nothing lies on disk that could be loaded: then it may be built in, and asking does no harm."""
    (tmp_path / "modules").write_text("ext4 16384 1 - Live 0x0\n")
    (tmp_path / "lib").mkdir()
    release = os.uname().release
    (tmp_path / "lib" / release).mkdir()
    script = node_script().replace("/proc/modules", f"{tmp_path}/modules").replace("/lib/modules/", f"{tmp_path}/lib/")
    script = script.replace("/sys/module/", f"{tmp_path}/sys/")

    def asked(directory: str) -> bool:
        (tmp_path / directory).mkdir()
        recordings, _, commands = ran(tmp_path / directory, script, {"id": "echo 0"})
        found = "nft list flowtables" in commands
        stderr = recordings["iptables-save"].stderr
        assert stderr.startswith("nf_tables is not in the kernel") is not found
        return found

    assert not asked("neither")
    (tmp_path / "lib" / release / "modules.builtin").write_text("kernel/net/netfilter/nf_tables.ko\n")
    assert asked("built-in")
    (tmp_path / "lib" / release / "modules.builtin").write_text("kernel/net/netfilter/nf_tables_x.ko\n")
    assert not asked("another")
    (tmp_path / "sys" / "nf_tables").mkdir(parents=True)
    assert asked("known-to-sysfs")
    (tmp_path / "sys" / "nf_tables").rmdir()
    (tmp_path / "lib" / release / "modules.builtin").unlink()
    (tmp_path / "lib" / release).rmdir()
    assert asked("no-modules-on-disk")


def test_output_is_bounded_part_by_part(tmp_path: Path) -> None:
    noise = {"iptables-save": "yes noise"}
    recordings, _, _ = ran(tmp_path, node_script(part_limit=1000), {"id": "echo 0", **noise})
    _needs_nf_tables(recordings)
    assert len(recordings["iptables-save"].content) == 1000
    assert recordings["iptables-save"].exit_status not in (0, None)
    assert "ps-ef" in recordings


def test_error_text_is_bounded(tmp_path: Path) -> None:
    wordy = {"iptables-save": "head -c 100000 /dev/zero | tr '\\000' x >&2; exit 7"}
    recordings, _, _ = ran(tmp_path, node_script(), {"id": "echo 0", **wordy})
    _needs_nf_tables(recordings)
    assert recordings["iptables-save"].exit_status == 7
    assert 3000 < len(recordings["iptables-save"].stderr) <= 4000


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compression(tmp_path: Path, encoding: str) -> None:
    if shutil.which(encoding) is None:
        pytest.skip(f"there is no {encoding}")
    done = subprocess.run(
        ["sh"], input=node_script(encodings=[encoding], check_only=True).encode(), capture_output=True, check=True
    )
    assert f":stream:{encoding}\n".encode() in done.stdout
    assert b"uid=" not in done.stdout
    if encoding not in encodings():
        pytest.skip("reading Zstandard needs Python 3.14 or the package zstandard")
    recordings, gaps = parse_output(done.stdout, node="n1")
    assert gaps == ()
    assert set(recordings) == {"kdiag-node"}
    assert parse_about(recordings["kdiag-node"])[encoding] == shutil.which(encoding)


def test_two_runs_draw_different_nonces() -> None:
    outputs = [
        subprocess.run(["sh"], input=node_script(check_only=True).encode(), capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    nonces = {re.findall(rb"kdiag:([0-9a-f]{32}):stream", output)[0] for output in outputs}
    assert len(nonces) == 2


def test_settings_stand_in_front() -> None:
    nonce = new_nonce()
    lines = node_script(nonce=nonce, encodings=("zstd", "gzip"), sudo=Sudo.NEVER, guarded=True).splitlines()
    assert lines[:7] == [
        f"nonce='{nonce}'",
        "encodings='zstd gzip'",
        "use_sudo='never'",
        "watch='yes'",
        "asks='no'",
        "only='all'",
        "limit='268435456'",
    ]


@pytest.mark.parametrize("nonce", ["", "x" * 32, "a'; reboot; '"])
def test_nonce_is_checked(nonce: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        node_script(nonce=nonce)


def test_encodings_are_checked() -> None:
    with pytest.raises(ValueError, match="unknown encodings"):
        node_script(encodings=["$(reboot)"])


def test_nothing_is_redirected_into_a_file() -> None:
    targets = re.findall(r"(?<![<>&=-])\d?>>?\s*(&?[^\s;)|]+)", re.sub(r"#.*|'[^'\n]*'", "", node_script()))
    assert targets
    descriptors = {"&-", *(f"&{number}" for number in range(1, 9))}
    # awk has no other words for the pipes that it was given; a file of that name is none.
    assert set(targets) <= {"/dev/null", '"/dev/fd/3"', '"/dev/fd/4"', *descriptors}


def test_no_words_that_change_something() -> None:
    body = re.sub(r"#.*", "", node_script())
    body = body.replace("| tee /dev/fd/7 |", "").replace("sort tail tee;", "")  # a pipe, and whether there is a tee
    words = r"\b(?:modprobe|insmod|mktemp|tee|touch|mkdir|rm|mv|cp|restore|flush|sysctl -w)\b"
    assert re.findall(words, body) == []
