"""The ways to run a command on a node. One more is one file here and one line in TRANSPORTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports.interface import FailureKind, NodeAddress, NodeFailure, Output, Transport

__all__ = [
    "TRANSPORTS",
    "FailureKind",
    "NodeAddress",
    "NodeFailure",
    "Output",
    "Transport",
    "TransportEntry",
    "transport_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportEntry:
    """A transport by its slug. `make` imports what it needs only when it is called."""

    slug: str
    make: Callable[[SshSettings], Transport]


def _ssh(settings: SshSettings) -> Transport:
    from kdiag.gather.transports.ssh import SshTransport

    return SshTransport(settings)


def _local(settings: SshSettings) -> Transport:
    from kdiag.gather.transports.local import LocalTransport

    return LocalTransport()


TRANSPORTS = (TransportEntry(slug="ssh", make=_ssh), TransportEntry(slug="local", make=_local))


def transport_of(slug: str, settings: SshSettings) -> Transport:
    """The transport with this slug; KeyError if there is none."""
    return {entry.slug: entry for entry in TRANSPORTS}[slug].make(settings)
