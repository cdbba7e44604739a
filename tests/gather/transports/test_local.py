"""The contract of a transport, with this host as the node; tests/lab holds SSH to it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kdiag.gather.script import node_script
from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports import TRANSPORTS, FailureKind, NodeAddress, NodeFailure, Output, transport_of
from kdiag.gather.transports.interface import LEAST_BYTES_PER_S, Patience
from kdiag.gather.transports.local import LocalTransport

HERE = NodeAddress(node="n1", host="localhost")


def run(
    script: str,
    *,
    timeout_s: float = 10,
    max_bytes: int = 1 << 20,
    ticks: list[int] | None = None,
    transport: LocalTransport | None = None,
) -> Output:
    seen = [] if ticks is None else ticks
    return (transport or LocalTransport()).run(
        HERE, script, timeout_s=timeout_s, max_bytes=max_bytes, on_bytes=seen.append
    )


def gone(process_id: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_registry() -> None:
    assert [entry.slug for entry in TRANSPORTS] == ["ssh", "local"]
    for entry in TRANSPORTS:
        transport = transport_of(entry.slug, SshSettings())
        transport.close()
        assert type(transport).__name__.lower() == f"{entry.slug}transport"
    with pytest.raises(KeyError):
        transport_of("carrier-pigeon", SshSettings())


def test_output_status_and_bytes() -> None:
    ticks: list[int] = []
    assert run("echo out; echo err >&2; exit 3\n", ticks=ticks) == Output(
        stdout=b"out\n", exit_status=3, stderr="err\n"
    )
    assert sum(ticks) == 4


def test_standard_input_is_held_open() -> None:
    script = "exec 9<&0; { ( read -r line; echo closed ) <&9 & sleep 0.5; echo end; kill $!; exit 0; }\n"
    assert run(script).stdout == b"end\n"


def test_only_the_end_of_error_text_is_kept() -> None:
    output = run("i=0; while [ $i -lt 9000 ]; do echo 0123456789 >&2; i=$((i+1)); done; echo last >&2; exit 0\n")
    assert len(output.stderr) == 64 * 1024
    assert output.stderr.endswith("last\n")


def test_hung_command_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(NodeFailure) as caught:
        run("echo $$; sleep 1000\n", timeout_s=0.6)
    assert time.monotonic() - started < 5
    assert caught.value.kind is FailureKind.HUNG
    assert caught.value.output is not None
    assert gone(int(caught.value.output.stdout))


def test_hung_node_script_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "iptables").write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 1000\n")
    (tmp_path / "iptables").chmod(0o755)
    shell = ("env", f"PATH={tmp_path}:{os.environ['PATH']}", "sh")
    with pytest.raises(NodeFailure) as caught:
        run(node_script(guarded=True), timeout_s=2, transport=LocalTransport(shell))
    assert caught.value.output is not None
    assert "kdiag: iptables-version.txt" in caught.value.output.stderr
    assert gone(int((tmp_path / "pid").read_text()))


def test_too_much() -> None:
    with pytest.raises(NodeFailure) as caught:
        run("yes\n", max_bytes=1 << 20)
    assert caught.value.kind is FailureKind.TOO_MUCH
    assert caught.value.output is None


def test_what_the_callback_raises_ends_the_run(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(count: int) -> None:
        if (tmp_path / "pid").exists():
            raise StopError

    with pytest.raises(StopError):
        LocalTransport().run(
            HERE, f"echo $$ >{tmp_path}/pid; exec sleep 1000\n", timeout_s=60, max_bytes=9, on_bytes=stop
        )
    assert gone(int((tmp_path / "pid").read_text()))


def test_shell_that_is_not_there() -> None:
    with pytest.raises(NodeFailure) as caught:
        run("true\n", transport=LocalTransport(("/nonexistent/sh",)))
    assert caught.value.kind is FailureKind.NO_SHELL
    assert "cannot run /nonexistent/sh" in caught.value.message


def test_shell_that_does_not_read() -> None:
    output = run("x" * 50000, transport=LocalTransport(("/bin/sh", "-c", "exit 9")))
    assert output == Output(stdout=b"", exit_status=9)


def test_patience_grows_with_what_comes() -> None:
    patience = Patience(10, 0)
    assert not patience.is_over(9.9)
    assert patience.is_over(10.1)
    patience.received(LEAST_BYTES_PER_S * 100, 9)
    assert not patience.is_over(18)
    assert patience.is_over(19.1)  # nothing came for 10 s
    for moment in range(10, 120):
        patience.received(1, moment)
    assert patience.is_over(119.5)  # it trickles
    failure = patience.hung(Output(stdout=b"x"), 119.5)
    assert failure.message == "it was given up after 120 s, 3276910 bytes had come, the last 0 s before"
