"""What the shell is offered after TAB that is not in the program itself: Services, nodes, namespaces, contexts.

Looked up in the snapshot that the command line names before the cursor, else over the live API. A child process does it and is
killed when the time is over: nothing that it runs into, be it a silent server or a huge list, holds up the prompt, and
nothing that it says reaches the terminal. Not available where there is no fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

DEADLINE_S = 0.3
"""Seconds from the start of kdiag until the prompt has its answer."""

LEAST_S = 0.2
"""Seconds that a lookup has in any case, on a host where starting Python takes most of DEADLINE_S."""

_LARGEST_ANSWER = 4 << 20


def complete_services(ctx: typer.Context, incomplete: str) -> list[str]:
    """`NAMESPACE/NAME`, or names alone where -n or the namespace default says which namespace is meant."""
    return in_time(lambda: _services(ctx, incomplete))


def complete_targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """What `kdiag trace` follows packets to: `svc/NAME`, or as for Services."""
    return in_time(lambda: _services(ctx, incomplete, with_kind=True))


def complete_clients(ctx: typer.Context, incomplete: str) -> list[str]:
    """`external`, `node/NAME`, and `pod/NAME` once that is begun: there may be very many."""

    def found() -> list[str]:
        if incomplete.startswith("pod/"):
            namespace = ctx.params.get("namespace") or "default"
            names = _names(ctx, "pods", namespace)
            return [f"pod/{pod}" for within, pod in names if within == namespace]
        return [f"node/{node}" for _, node in _names(ctx, "nodes")]

    offered = [word for word in ("external", "pod/") if word.startswith(incomplete) and word != incomplete]
    return [*offered, *(word for word in in_time(found) if word.startswith(incomplete))]


def complete_nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Nodes that were not named yet."""
    given = ctx.params.get("node") or ()
    found = in_time(lambda: [node for _, node in _names(ctx, "nodes")])
    return [node for node in found if node.startswith(incomplete) and (isinstance(given, str) or node not in given)]


def complete_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Namespaces that have a Service."""
    found = in_time(lambda: sorted({namespace for namespace, _ in _names(ctx, "services")}))
    return [namespace for namespace in found if namespace.startswith(incomplete)]


def complete_contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Contexts of the kubeconfig."""

    def found() -> list[str]:
        from kdiag.gather.names import context_names

        return context_names(_path(ctx, "kubeconfig"))

    return [context for context in in_time(found) if context.startswith(incomplete)]


def in_time(look_up: Callable[[], Sequence[str]], *, seconds: float | None = None) -> list[str]:
    """What `look_up` finds, or nothing if it fails or is not done after `seconds` (None: what is left of DEADLINE_S)."""
    if not hasattr(os, "fork"):
        return []
    import signal

    deadline = time.monotonic() + (time_left_s() if seconds is None else seconds)
    receiving, sending = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _answer_and_exit(look_up, sending)
    os.close(sending)
    try:
        return _received(receiving, deadline)
    finally:
        os.close(receiving)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def time_left_s() -> float:
    """Seconds until DEADLINE_S after the start of this process, but not less than LEAST_S."""
    try:
        # The 20th field after the name, which may hold blanks and brackets: start of the process, in ticks since boot.
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        spent = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        spent = 0.0
    return max(DEADLINE_S - spent, LEAST_S)


def _answer_and_exit(look_up: Callable[[], Sequence[str]], sending: int) -> NoReturn:
    """The child's part. It leaves without any of the parent's exit handlers, and never returns."""
    try:
        import json

        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        message = json.dumps([word for word in look_up() if word.isprintable()]).encode()
        while message:
            message = message[os.write(sending, message) :]
    finally:
        os._exit(0)


def _received(receiving: int, deadline: float) -> list[str]:
    import json
    import select

    answer = b""
    while len(answer) <= _LARGEST_ANSWER:
        ready, _, _ = select.select([receiving], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return []
        part = os.read(receiving, 1 << 16)
        if not part:
            break
        answer += part
    try:
        return [str(word) for word in json.loads(answer)]
    except ValueError:
        return []


def _services(ctx: typer.Context, incomplete: str, *, with_kind: bool = False) -> list[str]:
    namespace = ctx.params.get("namespace")
    if isinstance(namespace, str) and "/" not in namespace:
        names = [service for within, service in _names(ctx, "services", namespace) if within == namespace]
    else:
        known = _names(ctx, "services")
        names = [f"{within}/{service}" for within, service in known]
        names += [service for within, service in known if within == "default" or ctx.params.get("all_namespaces")]
    if incomplete.startswith("svc/") or (with_kind and "svc/".startswith(incomplete)):
        names = [*names, *(f"svc/{word}" for word in names if "/" not in word)]
    return [word for word in dict.fromkeys(names) if word.startswith(incomplete)]


def _names(ctx: typer.Context, kind: str, namespace: str | None = None) -> list[tuple[str, str]]:
    from kdiag.gather.names import live_names, recorded_names

    recorded = _path(ctx, "snapshot")
    if ctx.params.get("demo"):
        import kdiag

        recorded = Path(kdiag.__file__).parent / "demo" / "cluster.tar.gz"
    if recorded is not None:
        return recorded_names(recorded, kind)
    context: Any = ctx.params.get("context")
    return live_names(kind, kubeconfig=_path(ctx, "kubeconfig"), context=context, namespace=namespace)


def _path(ctx: typer.Context, parameter: str) -> Path | None:
    given = ctx.params.get(parameter)
    return None if given is None else Path(given).expanduser()
