"""Nodes over SSH: one connection, one session and one command for each."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import paramiko

from kdiag.gather.ssh_login import SshLogin, close_connection
from kdiag.gather.ssh_settings import Login, SshSettings
from kdiag.gather.transports.interface import TICK_S, FailureKind, NodeAddress, NodeFailure, Output, Patience, too_much

_SHELL = "/bin/sh"
_BLOCK = 65536
_STDERR_LIMIT = 64 * 1024
_END_S = 2.0


class SshTransport:
    """See Transport. Raises UsageError at once if the SSH configuration cannot be read."""

    def __init__(self, settings: SshSettings) -> None:
        self._login = SshLogin(settings)

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
        """See Transport.run."""
        login = self._login.login_for(address)
        try:
            output = self._run(
                login, script, timeout_s=timeout_s, max_bytes=max_bytes, on_bytes=on_bytes, answer=answer
            )
        except NodeFailure as error:
            if not login.remarks:
                raise
            hint = "; ".join(part for part in (error.hint, *login.remarks) if part)
            raise NodeFailure(error.kind, error.message, hint=hint, output=error.output) from None
        return replace(output, remarks=login.remarks) if login.remarks else output

    def _run(
        self,
        login: Login,
        script: str,
        *,
        timeout_s: float,
        max_bytes: int,
        on_bytes: Callable[[int], None],
        answer: Callable[[bytes], bytes] | None,
    ) -> Output:
        on_bytes(0)
        with self._login.connection(login, timeout_s=timeout_s) as connection:
            on_bytes(0)
            with _begin(connection, login, timeout_s) as channel:
                with contextlib.suppress(OSError):  # what it printed instead says why it did not read the script
                    channel.sendall(script.encode())
                return _converse(
                    connection, channel, timeout_s=timeout_s, max_bytes=max_bytes, on_bytes=on_bytes, answer=answer
                )

    def close(self) -> None:
        """Close the connections to jump hosts."""
        self._login.close()


@contextlib.contextmanager
def _begin(connection: paramiko.Transport, login: Login, timeout_s: float) -> Iterator[paramiko.Channel]:
    """A session with a shell in it that reads from its standard input."""
    # paramiko waits for the answer to an exec request for ever.
    alarm = threading.Timer(timeout_s, close_connection, (connection,))
    alarm.daemon = True
    alarm.start()
    try:
        channel = connection.open_session(timeout=timeout_s)
        channel.exec_command(_SHELL)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise NodeFailure(
            FailureKind.NO_SHELL,
            f"{login.host} let {login.user} in and then ran no command: {error or 'no answer'}",
            hint=f"does `ssh {login.user}@{login.asked_host} {_SHELL} -c true` work?",
        ) from None
    finally:
        alarm.cancel()
    try:
        yield channel
    finally:
        channel.close()


def _converse(
    connection: paramiko.Transport,
    channel: paramiko.Channel,
    *,
    timeout_s: float,
    max_bytes: int,
    on_bytes: Callable[[int], None],
    answer: Callable[[bytes], bytes] | None,
) -> Output:
    patience = Patience(timeout_s, time.monotonic())
    chunks: list[bytes] = []
    received = 0
    errors = b""
    exit_status: int | None = None

    def output() -> Output:
        return Output(stdout=b"".join(chunks), exit_status=exit_status, stderr=errors.decode("utf-8", "replace"))

    channel.settimeout(TICK_S)
    while True:
        block: bytes | None
        try:
            block = channel.recv(_BLOCK)
        except TimeoutError:
            block = None
        while channel.recv_stderr_ready():
            errors = (errors + channel.recv_stderr(_BLOCK))[-_STDERR_LIMIT:]
        if block == b"":
            break
        count = len(block or b"")
        if block:
            chunks.append(block)
            received += count
            said = answer(block) if answer is not None else b""
            if said:
                with contextlib.suppress(OSError):  # its output ends, too, and says how
                    channel.sendall(said)
        if received > max_bytes:
            raise too_much(max_bytes)
        on_bytes(count)
        now = time.monotonic()
        patience.received(count, now, block or b"")
        if patience.is_over(now):
            raise patience.hung(output(), now)
    channel.status_event.wait(_END_S)
    if channel.exit_status >= 0:
        exit_status = channel.exit_status
        return output()
    connection.join(TICK_S)  # a connection that is cut ends its channels first, and is active for a moment after that
    if not connection.is_active():
        raise NodeFailure(
            FailureKind.CUT,
            f"the connection was cut after {received} bytes",
            hint="run kdiag again; if it happens again, look at the log of the node's sshd",
            output=output(),
        )
    return output()
