from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from pathlib import Path

from kdiag.gather.known_hosts import KnownHosts, fingerprint

BLOB = b"\0\0\0\x0bssh-ed25519" + bytes(36)
TEXT = base64.b64encode(BLOB).decode()


def known(tmp_path: Path, *lines: str) -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"{line}\n" for line in lines))
    return KnownHosts((file, tmp_path / "none"))


def lines_of(hosts: KnownHosts, *names: str) -> list[int]:
    return [key.line for key in hosts.keys_of(names)]


def test_names_lists_ports_and_comments(tmp_path: Path) -> None:
    hosts = known(
        tmp_path,
        "# 10.0.0.1 ssh-ed25519 AAAA",
        f"10.0.0.1,Node01.example.org ssh-ed25519 {TEXT} a comment",
        "",
        "10.0.0.1 ssh-rsa",
        "10.0.0.1 ssh-rsa !!!!",
        f"[10.0.0.1]:2222 ssh-rsa {TEXT}",
    )
    assert lines_of(hosts, "10.0.0.1") == [2]
    assert lines_of(hosts, "node01.EXAMPLE.org") == [2]
    assert lines_of(hosts, "[10.0.0.1]:2222") == [6]
    assert lines_of(hosts, "10.0.0.1", "[10.0.0.1]:2222") == [2, 6]
    assert lines_of(hosts, "10.0.0.2") == []
    key = hosts.keys_of(("10.0.0.1",))[0]
    assert (key.key_type, key.blob, key.marker) == ("ssh-ed25519", BLOB, "")
    assert key.place == f"{tmp_path}/known_hosts:2"


def test_wildcards_and_negation(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"*.example.org,!bad.example.org ssh-ed25519 {TEXT}", f"[10.0.0.?]:22 ssh-rsa {TEXT}")
    assert lines_of(hosts, "a.example.org") == [1]
    assert lines_of(hosts, "bad.example.org") == []
    assert lines_of(hosts, "[10.0.0.7]:22") == [2]
    assert lines_of(hosts, "1") == []


def test_hashed_names(tmp_path: Path) -> None:
    salt = bytes(range(20))
    digest = hmac.new(salt, b"10.0.0.1", hashlib.sha1).digest()
    hashed = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    hosts = known(tmp_path, f"{hashed} ssh-ed25519 {TEXT}", f"|1|broken ssh-rsa {TEXT}", f"|1|?|? ssh-rsa {TEXT}")
    assert lines_of(hosts, "10.0.0.1") == [1]
    assert lines_of(hosts, "10.0.0.2") == []


def test_markers(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"@revoked * ssh-ed25519 {TEXT}", f"@cert-authority *.org ssh-rsa {TEXT}", "@revoked")
    assert [key.marker for key in hosts.keys_of(("a.org",))] == ["@revoked", "@cert-authority"]


def test_new_keys_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "new" / "known_hosts"
    hosts = KnownHosts((file,))
    hosts.add("10.0.0.1", "ssh-ed25519", BLOB)
    assert file.read_text() == f"10.0.0.1 ssh-ed25519 {TEXT}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.write_text("no end of line")
    hosts.add("[10.0.0.2]:2222", "ssh-ed25519", BLOB)
    assert file.read_text() == f"no end of line\n[10.0.0.2]:2222 ssh-ed25519 {TEXT}\n"
    assert lines_of(hosts, "[10.0.0.2]:2222") == [2]
    assert lines_of(KnownHosts((file,)), "[10.0.0.2]:2222") == [2]


def test_fingerprint_is_that_of_ssh_keygen() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
