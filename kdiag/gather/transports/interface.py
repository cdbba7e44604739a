"""What a transport is: a way to run one script on one node and get back what it printed."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kdiag.errors import KdiagError

LEAST_BYTES_PER_S = 32 * 1024
"""A run may take longer than its time-out by one second for every so many bytes that have come."""

BUSY_MARK = b":busy:"
"""Stands in a line by which the script says that a command which prints nothing yet is at work."""

BUSY_S = 5.0
"""By how much such a line prolongs a run: the script prints one every two seconds."""

MOST_BUSY_S = 1800.0
"""How much longer such lines can make a run in all."""

TICK_S = 0.5
"""How often a transport that waits calls `on_bytes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """Where a node is reached. `host` is an address or a name; what is None is left to the transport's settings."""

    node: str
    host: str
    port_number: int | None = None
    user: str | None = None
    key_file: str | None = None


class FailureKind(enum.StrEnum):
    """Why nothing, or not everything, came from a node."""

    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect-timeout"
    NOT_SSH = "not-ssh"
    UNKNOWN_HOST_KEY = "unknown-host-key"
    CHANGED_HOST_KEY = "changed-host-key"
    AUTHENTICATION = "authentication"
    JUMP_HOST = "jump-host"
    NO_SHELL = "no-shell"
    HUNG = "hung"
    CUT = "cut"
    TOO_MUCH = "too-much"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a run printed. `exit_status` is None if it is not known; `stderr` is the end of it, at most 64 KiB.

    `remarks` are what the user should know of the way to the node, in the same words for all nodes that it concerns.
    """

    stdout: bytes
    exit_status: int | None = None
    stderr: str = ""
    remarks: tuple[str, ...] = ()


class NodeFailure(KdiagError):  # noqa: N818 - it is told, as a gap, more often than it is raised to a user
    """A node that could not be asked, or that did not answer to the end. `output` is what had come until then."""

    def __init__(self, kind: FailureKind, message: str, *, hint: str = "", output: Output | None = None) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.output = output


class Transport(Protocol):
    """Runs a script on nodes. One transport serves all nodes and is called from several threads at once."""

    def run(
        self,
        address: NodeAddress,
        script: str,
        *,
        timeout_s: float,
        max_bytes: int,
        on_bytes: Callable[[int], None],
        answer: Callable[[bytes], bytes] | None = None,
    ) -> Output:
        """Give `script` to `sh` on the node's standard input, hold that open, and return what was printed.

        `timeout_s` is for connecting and for the run together, which gets more time while bytes flow (one second for
        every LEAST_BYTES_PER_S, and BUSY_S for every line of the script that says it is at work). More than `max_bytes` of standard output is a failure. `on_bytes` is called with the
        number of bytes that have come, and with 0 every TICK_S while none come; what it raises ends the run. `answer` is
        called with each block of standard output, and what it returns is written to the script's standard input.
        Raises NodeFailure, with what had come if the run had begun. However it ends, the node's end of standard input
        is closed, which ends the script there.
        """
        ...

    def close(self) -> None:
        """Close what several nodes shared, jump hosts for instance."""
        ...


class Patience:
    """The time that a run may still take: it grows with the bytes that have come."""

    def __init__(self, timeout_s: float, now: float) -> None:
        self.timeout_s = timeout_s
        self._started = now
        self._received = 0
        self._busy_s = 0.0
        self._last = now

    def received(self, count: int, now: float, block: bytes = b"") -> None:
        """Note that bytes have come: so many, and which if they are known."""
        if BUSY_MARK in block:
            self._busy_s = min(self._busy_s + BUSY_S, MOST_BUSY_S)
        if count:
            self._received += count
            self._last = now

    def is_over(self, now: float) -> bool:
        """True if the run has taken too long, or nothing has come for `timeout_s`."""
        allowed = self.timeout_s + self._received / LEAST_BYTES_PER_S + self._busy_s
        return now - self._started > allowed or now - self._last > self.timeout_s

    def hung(self, output: Output, now: float) -> NodeFailure:
        """The failure to raise then."""
        return NodeFailure(
            FailureKind.HUNG,
            f"it was given up after {now - self._started:.0f} s, {self._received} bytes had come, "
            f"the last {now - self._last:.0f} s before",
            hint="look whether the node is overloaded, or give it more time with --node-timeout",
            output=output,
        )


def too_much(max_bytes: int) -> NodeFailure:
    """The failure of a run that printed more than `max_bytes`; what it printed is not kept."""
    return NodeFailure(
        FailureKind.TOO_MUCH,
        f"it sent more than {max_bytes / 1024 / 1024:.0f} MiB",
        hint="run what `kdiag collect --print-script` prints on the node and look at what it says",
    )
