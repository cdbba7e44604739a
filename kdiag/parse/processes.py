"""Processes of a node, from any `ps` with a header and from recorded argument vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping

from kdiag.errors import ParseError
from kdiag.model.host import Process
from kdiag.model.snapshot import Recording

_COMMAND_COLUMNS = ("CMD", "COMMAND", "ARGS")


def parse_processes(recording: Recording) -> tuple[Process, ...]:
    """Processes in printed order, from `ps -ef`, `ps aux`, busybox `ps` or JSON (pid to argv).

    The command column of `ps` is cut at its spaces: an argument that holds a space falls apart. Kernel threads
    (`[kworker/0:0]`) are left out. Raises ParseError if there is no header that names a pid and a command.
    """
    text = recording.text()
    if text.lstrip().startswith("{"):
        return _from_json(text, recording.source)
    lines = text.split("\n")
    for index, line in enumerate(lines):
        columns = line.split()
        if "PID" in columns and columns[-1] in _COMMAND_COLUMNS:
            return _from_table(lines, index, columns, recording.source)
    raise ParseError("no ps header with PID and CMD or COMMAND", hint="record `ps -ef`")


def merge_arguments(processes: tuple[Process, ...], vectors: tuple[Process, ...]) -> tuple[Process, ...]:
    """The processes with their real argument vectors where one is known.

    A vector belongs to a process if pid and words agree (a pid may have been given away between two commands). The
    place in `ps` is kept as the source: it has a line.
    """
    known: Mapping[int, Process] = {vector.pid: vector for vector in vectors}
    out: list[Process] = []
    for process in processes:
        vector = known.get(process.pid)
        if vector is not None and " ".join(vector.argv).split() == list(process.argv):
            process = Process(pid=process.pid, argv=vector.argv, source=process.source, line=process.line)
        out.append(process)
    return tuple(out)


def _from_table(lines: list[str], header: int, columns: list[str], source: str) -> tuple[Process, ...]:
    pid_column = columns.index("PID")
    out: list[Process] = []
    for number, line in enumerate(lines[header + 1 :], start=header + 2):
        cells = line.split(None, len(columns) - 1)
        if len(cells) < len(columns) or not _is_pid(cells[pid_column]):
            continue
        command = cells[-1].strip()
        if not command.startswith("["):
            out.append(Process(pid=int(cells[pid_column]), argv=tuple(command.split()), source=source, line=number))
    return tuple(out)


def _from_json(text: str, source: str) -> tuple[Process, ...]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError("process arguments are not JSON") from error
    out: list[Process] = []
    for pid, argv in content.items():
        if not _is_pid(pid) or not isinstance(argv, list) or not argv:
            continue
        if all(isinstance(word, str) for word in argv):
            out.append(Process(pid=int(pid), argv=tuple(argv), source=source))
    return tuple(sorted(out, key=lambda process: process.pid))


def _is_pid(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
