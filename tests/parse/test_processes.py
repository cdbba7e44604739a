"""Processes out of `ps` in its dialects and of recorded argument vectors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.snapshot import Recording
from kdiag.parse.processes import merge_arguments, parse_processes

PS_EF = """\
UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 00:48 ?        00:00:00 /sbin/init infinity
root           2       0  0 Nov23 ?        00:00:00 [kthreadd]
root          26       0 15 00:48 ?        00:00:04 kube-apiserver --secure-port=6443 --x

root         bad       0 15 00:48 ?        00:00:04 cut
root         152
"""

PS_AUX = """\
USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND
root          94  1.1  0.1 749652 38172 ?        Sl   00:49   0:00 /usr/local/bin/kube-proxy --config=/c
"""

BUSYBOX = """\
PID   USER     TIME  COMMAND
    1 root      0:00 k3s server
"""


def recording(text: str) -> Recording:
    return Recording(source="nodes/n/ps.txt", content=text.encode())


def test_ps_ef() -> None:
    init, server = parse_processes(recording(PS_EF))
    assert (init.pid, init.argv, init.line) == (1, ("/sbin/init", "infinity"), 2)
    assert (server.pid, server.argv, server.line) == (26, ("kube-apiserver", "--secure-port=6443", "--x"), 4)
    assert server.source == "nodes/n/ps.txt"


def test_other_dialects() -> None:
    (proxy,) = parse_processes(recording(PS_AUX))
    assert (proxy.pid, proxy.argv[1]) == (94, "--config=/c")
    (server,) = parse_processes(recording(BUSYBOX))
    assert (server.pid, server.argv) == (1, ("k3s", "server"))


def test_argument_vectors() -> None:
    text = '{"94": ["a", "b c"], "20": ["etcd"], "x": ["y"], "7": [], "8": "no", "9": [1]}'
    assert [(item.pid, item.argv) for item in parse_processes(recording(text))] == [(20, ("etcd",)), (94, ("a", "b c"))]


@pytest.mark.parametrize("text", ["", "no header here", '{"1": ', "PID without a command"])
def test_what_is_no_list_of_processes(text: str) -> None:
    with pytest.raises(ParseError):
        parse_processes(recording(text))


def test_vectors_replace_words_of_the_same_process_only() -> None:
    listed = parse_processes(recording("PID CMD\n5 sh -c exec  x\n6 kube-proxy --a\n7 other\n"))
    vectors = parse_processes(recording('{"5": ["sh", "-c", "exec x"], "6": ["kube-proxy", "--b"]}'))
    merged = merge_arguments(listed, vectors)
    assert [item.argv for item in merged] == [("sh", "-c", "exec x"), ("kube-proxy", "--a"), ("other",)]
    assert [item.line for item in merged] == [2, 3, 4]


@given(st.text(max_size=200))
def test_any_text_gives_processes_or_a_parse_error(text: str) -> None:
    for content in (text, "PID CMD\n" + text, "{" + text):
        with contextlib.suppress(ParseError):
            parse_processes(recording(content))
