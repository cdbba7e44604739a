"""All nodes asked at once: a bounded number of threads, a time-out for each node and a deadline for all."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdiag.errors import KdiagError
from kdiag.gather.dump_classes import Conversation, DumpClasses
from kdiag.gather.framing import encodings, parse_output
from kdiag.gather.script import Sudo, new_nonce, node_script
from kdiag.gather.transports.interface import FailureKind, NodeAddress, NodeFailure, Output, Transport
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording

MAX_BYTES = 512 * 1024 * 1024
"""Bytes (compressed, where the node can) that one node may send."""

_GRACE_S = 3.0
"""How long runs that were told to stop may take to do so; their threads do not keep the program from ending."""
_WAIT_S = 0.1
_log = logging.getLogger(__name__)

NodeOutcome = tuple[dict[str, Recording], tuple[Gap, ...]]


class Progress(Protocol):
    """What is told while nodes are asked. Called from several threads at once; must be quick and must not raise."""

    def started(self, node: str) -> None:
        """A node is being asked."""
        ...

    def received(self, node: str, size_bytes: int) -> None:
        """So many more bytes have come from it."""
        ...

    def finished(self, node: str, *, failed: bool) -> None:
        """It is done. `failed` is True if nothing of it can be used."""
        ...


@dataclass(slots=True)
class _Run:
    """What the threads share."""

    transport: Transport
    sudo: Sudo
    timeout_s: float
    check_only: bool
    asks: bool
    max_bytes: int
    encodings: tuple[str, ...]
    stop_at: float | None
    cancelled: threading.Event
    progress: Progress | None
    waiting: queue.SimpleQueue[NodeAddress]
    working: int
    """Threads that have not ended."""
    classes: DumpClasses = field(default_factory=DumpClasses)
    outcomes: dict[str, NodeOutcome] = field(default_factory=dict)
    remarks: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Event = field(default_factory=threading.Event)

    def stop_reason(self) -> NodeFailure | None:
        """Why nothing more is to be asked; None if there is no reason."""
        if self.cancelled.is_set():
            return NodeFailure(FailureKind.CANCELLED, "it was not read: the run was interrupted")
        if self.stop_at is not None and time.monotonic() > self.stop_at:
            return NodeFailure(
                FailureKind.DEADLINE,
                "it was not read before the total time was over",
                hint="give more time with --deadline, or ask more nodes at once with --parallel",
            )
        return None


def gather_nodes(
    addresses: Sequence[NodeAddress],
    transport: Transport,
    *,
    parallel: int,
    timeout_s: float,
    deadline_s: float | None,
    progress: Progress | None,
    sudo: Sudo,
    cancelled: threading.Event,
    check_only: bool = False,
    asks: bool = False,
    max_bytes: int = MAX_BYTES,
) -> tuple[dict[str, dict[str, Recording]], tuple[Gap, ...]]:
    """Run the script on all nodes, `parallel` of them at a time.

    Returns the recordings by node and probe, of nodes that could be read, and what could not be had: a node that
    failed is one gap, and a remark on the way to several of them is one for all. `timeout_s` is for each node (see Transport.run), `deadline_s` for all of them. Setting
    `cancelled`, or Ctrl-C, which sets it, ends the runs under way: what had come from other nodes is returned.
    `asks` lets nodes ask whether their dumps are wanted (see kdiag.gather.dump_classes): worth it where dumps are large.
    `check_only` asks only what each node can do (the probe `kdiag-node`). `max_bytes` is what one node may send.
    """
    waiting: queue.SimpleQueue[NodeAddress] = queue.SimpleQueue()
    for address in addresses:
        waiting.put(address)
    number_of_threads = min(max(parallel, 1), len(addresses))
    run = _Run(
        transport=transport,
        sudo=sudo,
        timeout_s=timeout_s,
        check_only=check_only,
        asks=asks,
        max_bytes=max_bytes,
        encodings=encodings(),
        stop_at=None if deadline_s is None else time.monotonic() + deadline_s,
        cancelled=cancelled,
        progress=progress,
        waiting=waiting,
        working=number_of_threads,
    )
    for number in range(number_of_threads):
        threading.Thread(target=_work, args=(run,), name=f"kdiag-node-{number}", daemon=True).start()
    if number_of_threads:
        _wait(run)
    with run.lock:
        outcomes = dict(run.outcomes)
        remarks = sorted(run.remarks)
    recordings: dict[str, dict[str, Recording]] = {}
    gaps = [Gap(subject="the way to nodes", reason=remark, kind=GapKind.NOT_ASKED) for remark in remarks]
    for address in sorted(addresses, key=lambda item: item.node):
        found, node_gaps = outcomes.get(address.node) or ({}, (_unread(run, address),))
        if found:
            recordings[address.node] = found
        gaps += node_gaps
    return recordings, tuple(gaps)


def _wait(run: _Run) -> None:
    """Until all threads are done, or for a moment after the run was to stop.

    An event and not Thread.join: a join that Ctrl-C interrupts leaves a thread that is said not to be alive (Python 3.11).
    """
    give_up_at: float | None = None
    while not run.done.is_set():
        try:
            run.done.wait(_WAIT_S)
        except KeyboardInterrupt:
            if run.cancelled.is_set():
                raise
            run.cancelled.set()
        if run.stop_reason() is not None:
            now = time.monotonic()
            give_up_at = give_up_at or now + _GRACE_S
            if now > give_up_at:
                return


def _work(run: _Run) -> None:
    try:
        while True:
            address = run.waiting.get_nowait()
            outcome = _ask(run, address)
            with run.lock:
                run.outcomes[address.node] = outcome
    except queue.Empty:
        pass
    finally:
        with run.lock:
            run.working -= 1
            if not run.working:
                run.done.set()


def _ask(run: _Run, address: NodeAddress) -> NodeOutcome:
    """One node, whatever happens to it."""
    node = address.node
    reason = run.stop_reason()
    if reason is not None:
        return {}, (_gap(node, reason),)
    if run.progress is not None:
        run.progress.started(node)
    outcome: NodeOutcome = ({}, ())
    try:
        outcome = _outcome(run, address)
    except KdiagError as error:
        outcome = ({}, (_gap(node, error),))
    except Exception as error:
        _log.debug("reading %s", node, exc_info=True)
        # A thread has nobody to raise to, and the other nodes are still to be judged.
        unexpected = KdiagError(
            f"reading it failed in an unforeseen way: {type(error).__name__}", hint="this is a bug in kdiag, report it"
        )
        outcome = ({}, (_gap(node, unexpected),))
    finally:
        if run.progress is not None:
            run.progress.finished(node, failed=not outcome[0])
    return outcome


def _outcome(run: _Run, address: NodeAddress) -> NodeOutcome:
    nonce = new_nonce()
    conversation = Conversation(run.classes, nonce)
    script = node_script(
        nonce=nonce, encodings=run.encodings, sudo=run.sudo, guarded=True, asks=run.asks, check_only=run.check_only
    )

    def on_bytes(count: int) -> None:
        reason = run.stop_reason()
        if reason is not None:
            raise reason
        if count and run.progress is not None:
            run.progress.received(address.node, count)

    failure: NodeFailure | None = None
    try:
        output = run.transport.run(
            address,
            script,
            timeout_s=run.timeout_s,
            max_bytes=run.max_bytes,
            on_bytes=on_bytes,
            answer=conversation.hear,
        )
    except NodeFailure as error:
        failure = error
        output = error.output or Output(stdout=b"")
        if not output.stdout:
            return {}, (_gap(address.node, error),)
    if output.remarks:
        with run.lock:
            run.remarks.update(output.remarks)
    return parse_output(
        output.stdout,
        node=address.node,
        nonce=nonce,
        failure=failure,
        stderr=output.stderr,
        conversation=conversation,
    )


def _unread(run: _Run, address: NodeAddress) -> Gap:
    """The gap of a node whose thread did not come back in time."""
    return _gap(address.node, run.stop_reason() or KdiagError("it was not read"))


def _gap(node: str, failure: KdiagError) -> Gap:
    hint = f"; {failure.hint}" if failure.hint else ""
    return Gap(node=node, subject="node", reason=f"{failure.message}{hint}")
