"""This very host as a node: for a node that kdiag runs on, and for trying the script out."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable

from kdiag.gather.transports.interface import TICK_S, FailureKind, NodeAddress, NodeFailure, Output, Patience, too_much

_STDERR_LIMIT = 64 * 1024
_END_S = 2.0


class LocalTransport:
    """Runs the script in a session of its own, so that it can be ended with all that it started.

    `shell` is the command that reads the script from its standard input.
    """

    def __init__(self, shell: tuple[str, ...] = ("/bin/sh",)) -> None:
        self._shell = shell

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
        """See Transport.run. `address` is not looked at."""
        try:
            process = subprocess.Popen(
                self._shell,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise NodeFailure(
                FailureKind.NO_SHELL,
                f"cannot run {self._shell[0]} on this host: {error.strerror or error}",
                hint="kdiag needs a POSIX sh there",
            ) from None
        try:
            return _converse(
                process, script, timeout_s=timeout_s, max_bytes=max_bytes, on_bytes=on_bytes, answer=answer
            )
        finally:
            _end(process)

    def close(self) -> None:
        """Nothing is shared."""


def _converse(
    process: subprocess.Popen[bytes],
    script: str,
    *,
    timeout_s: float,
    max_bytes: int,
    on_bytes: Callable[[int], None],
    answer: Callable[[bytes], bytes] | None,
) -> Output:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    patience = Patience(timeout_s, time.monotonic())
    chunks: list[bytes] = []
    received = 0
    errors = b""
    exit_status: int | None = None

    def output() -> Output:
        return Output(stdout=b"".join(chunks), exit_status=exit_status, stderr=errors.decode("utf-8", "replace"))

    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        # A pipe holds 64 KiB and the script is far smaller, so that this cannot wait for a shell that does not read.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(script.encode())
            process.stdin.flush()
        while selector.get_map():
            ready = selector.select(TICK_S)
            count = 0
            for key, _ in ready:
                block = os.read(key.fd, 65536)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    chunks.append(block)
                    count += len(block)
                    said = answer(block) if answer is not None else b""
                    if said:
                        with contextlib.suppress(BrokenPipeError):
                            process.stdin.write(said)
                            process.stdin.flush()
                else:
                    errors = (errors + block)[-_STDERR_LIMIT:]
            received += count
            if received > max_bytes:
                raise too_much(max_bytes)
            on_bytes(count)
            now = time.monotonic()
            patience.received(count, now, chunks[-1] if count else b"")
            if patience.is_over(now):
                raise patience.hung(output(), now)
    with contextlib.suppress(subprocess.TimeoutExpired):
        exit_status = process.wait(_END_S)
    return output()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close standard input, which ends the script; then end what is still there of its session."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    if process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
