"""The node script under every shell that is here, with programs of our own in front of the machine's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from kdiag.gather.framing import parse_about, parse_output
from kdiag.gather.script import Sudo, new_nonce, node_script
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
    recordings, gaps = parse_output(done.stdout, node="n1")
    return recordings, gaps, log.read_text().splitlines()


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
    assert commands.count("iptables-save") == commands.count("ip6tables-save") == commands.count("nft list tables") == 1
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


def test_ruleset_of_nft_only_where_kube_proxy_has_tables(tmp_path: Path) -> None:
    nft = 'echo nft "$@" >>LOG\ncase "$*" in\n*tables*) echo table ip kube-proxy ;;\n*ruleset*) echo "{}" ;;\nesac'
    recordings, _, commands = ran(tmp_path, node_script(), {"id": "echo 0", "nft": nft})
    _needs_nf_tables(recordings)
    assert recordings["nft-j-list-ruleset"].text() == "{}\n"
    assert "nft -j list ruleset" in commands
    (tmp_path / "again").mkdir()
    without, _, commands = ran(tmp_path / "again", node_script(), {"id": "echo 0"})
    assert "nft-j-list-ruleset" not in without
    assert not [command for command in commands if "ruleset" in command]


def test_nft_without_json(tmp_path: Path) -> None:
    nft = (
        'case "$*" in\n-j*) exit 1 ;;\n*tables*) echo table ip kube-proxy ;;\n*) echo "table ip kube-proxy {}" ;;\nesac'
    )
    recordings, _, _ = ran(tmp_path, node_script(), {"id": "echo 0", "nft": nft})
    _needs_nf_tables(recordings)
    assert recordings["nft-list-ruleset"].text() == "table ip kube-proxy {}\n"


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
    if encoding == "gzip":
        recordings, gaps = parse_output(done.stdout, node="n1")
        assert gaps == ()
        assert set(recordings) == {"kdiag-node"}
        assert parse_about(recordings["kdiag-node"])["gzip"] == shutil.which("gzip")


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
    assert lines[:6] == [
        f"nonce='{nonce}'",
        "encodings='zstd gzip'",
        "use_sudo='no'",
        "watch='yes'",
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
    assert set(targets) <= {"/dev/null", "&1", "&2", "&3", "&4"}


def test_no_words_that_change_something() -> None:
    body = re.sub(r"#.*", "", node_script())
    words = r"\b(?:modprobe|insmod|mktemp|tee|touch|mkdir|rm|mv|cp|restore|flush|sysctl -w)\b"
    assert re.findall(words, body) == []
