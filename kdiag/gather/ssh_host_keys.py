"""Whose key a host shows: known_hosts enforced, and new keys accepted only where that was asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import paramiko

from kdiag.gather.known_hosts import KnownHosts, KnownKey, fingerprint
from kdiag.gather.ssh_settings import Login
from kdiag.gather.transports.interface import FailureKind, NodeFailure

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")


class HostKeys:
    """The host keys that are known. Every file is read once; for use by several threads.

    `accept_new` lets keys of hosts that nothing is known of in, and writes them down; a changed key is never accepted.
    """

    def __init__(self, *, accept_new: bool) -> None:
        self._accept_new = accept_new
        self._files: dict[tuple[Path, ...], KnownHosts] = {}
        self._lock = threading.Lock()
        self._new_key_lock = threading.Lock()

    def of(self, login: Login) -> tuple[KnownKey, ...]:
        """What is known of a host. A key that is written without the port counts too where it is the same host."""
        known = self._known_hosts(login)
        keys = known.keys_of((login.key_name,))
        if not keys and login.key_name.startswith("["):
            keys = known.keys_of((login.key_name[1:].partition("]:")[0],))
        return keys

    def check(self, login: Login, keys: tuple[KnownKey, ...], shown: paramiko.PKey) -> None:
        """Returns if the key that a host has shown, and proved to have, is one of `keys`. Raises NodeFailure.

        A certificate authority (`@cert-authority`) vouches for certificates; those of hosts are neither asked for nor
        checked (paramiko knows none), so that its line makes no key known.
        """
        blob = shown.asbytes()
        what = f"{shown.get_name()} {fingerprint(blob)}"
        same = [key for key in keys if key.blob == blob]
        revoked = next((key for key in same if key.marker == "@revoked"), None)
        if revoked is not None:
            raise NodeFailure(
                FailureKind.CHANGED_HOST_KEY,
                f"the host key of {login.key_name} ({what}) is revoked in {revoked.place}",
                hint="give the host a new key",
            )
        if any(not key.marker for key in same):
            return
        plain = [key for key in keys if not key.marker]
        if plain:
            raise NodeFailure(
                FailureKind.CHANGED_HOST_KEY,
                f"the host key of {login.key_name} has changed: it shows {what}, {plain[0].place} has "
                f"{plain[0].key_type} {fingerprint(plain[0].blob)}",
                hint=(
                    f"another machine may pass itself off as this one; if it was set up anew, forget the old key with "
                    f"`ssh-keygen -R '{login.key_name}' -f {plain[0].file}`"
                ),
            )
        if self._accept_new and login.known_hosts:
            self._accept(login, shown)
            return
        authority = next((key for key in keys if key.marker == "@cert-authority"), None)
        if authority is not None:
            raise NodeFailure(
                FailureKind.UNKNOWN_HOST_KEY,
                f"the host key of {login.key_name} is known through a certificate authority only ({authority.place}), and "
                f"kdiag cannot check host certificates: it shows {what}",
                hint=f"if that is its key, add it beside the authority with "
                f"`{_accepting_command(login, key_type=shown.get_name())}`",
            )
        raise NodeFailure(
            FailureKind.UNKNOWN_HOST_KEY,
            f"the host key of {login.key_name} is not known: it shows {what}",
            hint=f"if that is its key, accept it with `{_accepting_command(login)}`, or all new ones with "
            "--accept-new-host-keys",
        )

    def _accept(self, login: Login, shown: paramiko.PKey) -> None:
        with self._new_key_lock:
            # Another thread may have met the same host behind another node name, with another key.
            again = self.of(login)
            if not any(not key.marker for key in again):
                try:
                    self._known_hosts(login).add(login.key_name, shown.get_name(), shown.asbytes())
                except OSError as error:
                    raise NodeFailure(
                        FailureKind.UNKNOWN_HOST_KEY,
                        f"the host key of {login.key_name} cannot be written to {login.known_hosts[0]}: "
                        f"{error.strerror or error}",
                        hint="make the file writable, or name another one as UserKnownHostsFile in ~/.ssh/config",
                    ) from None
                return
        self.check(login, again, shown)

    def _known_hosts(self, login: Login) -> KnownHosts:
        with self._lock:
            known = self._files.get(login.known_hosts)
            if known is None:
                known = self._files[login.known_hosts] = KnownHosts(login.known_hosts)
            return known


def preferred_key_types(offered: tuple[str, ...], keys: tuple[KnownKey, ...]) -> list[str]:
    """The kinds of host key to ask for, known ones first: a host with several shows one that can be checked."""
    known_types = {key.key_type for key in keys if not key.marker}
    if "ssh-rsa" in known_types:
        known_types |= set(_RSA_SIGNATURES)
    return sorted(offered, key=lambda kind: kind not in known_types)


def _accepting_command(login: Login, *, key_type: str | None = None) -> str:
    """What writes a host's key down. `key_type` keeps ssh from asking for a certificate, which it would not write."""
    port = "" if login.port_number == 22 else f" -p {login.port_number}"
    if login.jumps or login.proxy_command or login.key_name.strip("[").partition("]")[0] != login.host:
        signature = _RSA_SIGNATURES[0] if key_type == "ssh-rsa" else key_type
        option = f" -o HostKeyAlgorithms={signature}" if signature else ""
        return f"ssh{option}{port} {login.user}@{login.asked_host} true"
    target = login.known_hosts[0] if login.known_hosts else Path("~/.ssh/known_hosts")
    return f"ssh-keyscan{port} {login.host} >> {target}"
