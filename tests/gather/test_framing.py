from __future__ import annotations

import gzip
import json
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import KdiagError
from kdiag.gather import framing
from kdiag.gather.framing import encodings, parse_about, parse_output, read_stream
from kdiag.model.snapshot import Recording

NONCE = "0123456789abcdef" * 2
OTHER = "f" * 32
ABOUT = "uid=1000\nuser=ops\nsudo=refused\niptables-save=/sbin/iptables-save\nip=\n"


def part(file: str, content: bytes, status: int | str = 0, stderr: str = "", nonce: str = NONCE) -> bytes:
    return (
        f"kdiag:{nonce}:begin:{file}\n".encode()
        + content
        + f"\nkdiag:{nonce}:end:{status}\n{stderr}\nkdiag:{nonce}:done\n".encode()
    )


def mark(text: str, nonce: str = NONCE) -> bytes:
    return f"kdiag:{nonce}:{text}\n".encode()


def output(*pieces: bytes, encoding: str = "plain", nonce: str = NONCE) -> bytes:
    body = b"".join(pieces)
    return b"\n" + mark(f"stream:{encoding}", nonce) + (gzip.compress(body) if encoding == "gzip" else body)


ESSENTIAL = (part("kdiag-node.txt", ABOUT.encode()), part("iptables-save.txt", b"*nat\nCOMMIT\n"), mark("rules"))
WHOLE = (*ESSENTIAL, part("ss-ltnuH.txt", b"LISTEN\n"), mark("stop"))


def test_recordings_are_byte_for_byte_what_was_printed() -> None:
    content = b"\n\n\xff\0kdiag:x:end:0\nno end of line"
    recordings, gaps = parse_output(output(part("a-b.json", content, 3, "oh\n\n"), mark("stop")), node="n1")
    assert gaps == ()
    assert recordings == {
        "a-b": Recording(source="nodes/n1/a-b.json", content=content, exit_status=3, stderr="oh\n\n"),
    }


@pytest.mark.parametrize("encoding", ["plain", "gzip"])
@pytest.mark.parametrize("front", [b"", b"Welcome!\r\n\xff\xfe", b"\nkdiag:" + OTHER.encode() + b":stream:plain\n"])
def test_what_stands_in_front_does_not_matter(encoding: str, front: bytes) -> None:
    recordings, gaps = parse_output(front + output(*WHOLE, encoding=encoding), node="n1", nonce=NONCE)
    assert gaps == ()
    assert set(recordings) == {"kdiag-node", "iptables-save", "ss-ltnuH"}


def test_content_cannot_forge_a_frame() -> None:
    forged = part("iptables-save.txt", b"forged", nonce=OTHER) + mark("stop", OTHER)
    recordings, gaps = parse_output(output(part("iptables-save.txt", forged), mark("stop")), node="n1", nonce=NONCE)
    assert gaps == ()
    assert recordings["iptables-save"].content == forged


def test_another_runs_output_is_not_taken() -> None:
    recordings, gaps = parse_output(output(*WHOLE), node="n1", nonce=OTHER)
    assert recordings == {}
    assert "did not run" in gaps[0].reason


def test_two_compressed_streams_and_what_follows_them() -> None:
    first, second = gzip.compress(b"".join(ESSENTIAL)), gzip.compress(b"".join(WHOLE[3:]))
    content = b"\n" + mark("stream:gzip") + first + second
    for data in (content, content + b"logout\n"):
        assert set(parse_output(data, node="n1")[0]) == {"kdiag-node", "iptables-save", "ss-ltnuH"}
    recordings, gaps = parse_output(b"\n" + mark("stream:gzip") + first + second[:15], node="n1")
    assert set(recordings) == {"kdiag-node", "iptables-save"}
    assert gaps[0].reason == "the output ends before its end mark; was the connection cut, or the file?"


def test_damaged_compression_ends_the_stream() -> None:
    data = output(*WHOLE, encoding="gzip")
    recordings, gaps = parse_output(data[:-40] + bytes(60), node="n1")
    assert recordings == {}
    assert [gap.subject for gap in gaps] == ["node"]


def test_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "INFLATED_LIMIT", 1 << 20)
    recordings, gaps = parse_output(output(bytes(3 << 20), encoding="gzip"), node="n1")
    assert recordings == {}
    assert gaps[0].reason == "its output has more than 1 MiB when it is decompressed"


def test_line_ends_of_a_terminal() -> None:
    recordings, gaps = parse_output(output(*WHOLE).replace(b"\n", b"\r\n"), node="n1")
    assert gaps == ()
    assert recordings["iptables-save"].content == b"*nat\nCOMMIT\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the script printed nothing"),
        (b" \n\n", "the script printed nothing"),
        (b"\nno\x1b[2J such user\n", "the first line is 'no\N{REPLACEMENT CHARACTER}[2J such user'"),
    ],
)
def test_no_output_of_the_script(data: bytes, reason: str) -> None:
    recordings, (gap,) = parse_output(data, node="n1")
    assert recordings == {}
    assert (gap.node, gap.subject) == ("n1", "node")
    assert reason in gap.reason


@given(st.integers(min_value=0), st.sampled_from(["plain", "gzip"]))
def test_cut_output_is_one_gap_and_never_lacks_a_dump(place: int, encoding: str) -> None:
    data = output(*WHOLE, encoding=encoding)
    recordings, gaps = parse_output(data[: place % len(data)], node="n1", failure=KdiagError("cut", hint="mend"))
    if not gaps:
        assert len(recordings) == 3  # only the check sum at the end is missing
        return
    assert len(gaps) == 1
    assert gaps[0].reason.startswith("cut")
    assert gaps[0].reason.endswith("; mend")
    assert "iptables-save" in recordings or not recordings


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for bytes_seen in (data, output(data), b"\n" + mark("stream:gzip") + data):
        recordings, gaps = parse_output(bytes_seen, node="n1")
        assert not recordings
        assert len(gaps) == 1


@given(st.lists(st.tuples(st.binary(max_size=50), st.integers(0, 255)), max_size=5))
def test_frames_round_trip(contents: list[tuple[bytes, int]]) -> None:
    parts = [part(f"p{number}.txt", content, status) for number, (content, status) in enumerate(contents)]
    stream = read_stream(output(*parts, mark("stop"), encoding="gzip"), nonce=NONCE)
    assert [(item.content, item.exit_status) for item in stream.parts] == contents
    assert stream.complete
    assert stream.running is None


def test_it_is_said_what_was_being_read() -> None:
    running = (part("kdiag-node.txt", b""), mark("begin:iptables-save.txt"), b"*nat\n")
    assert (
        "cut while it read iptables-save"
        in parse_output(output(*running), node="n", failure=KdiagError("cut"))[1][0].reason
    )
    stderr = "noise\nkdiag: ip-addr.json\nkdiag: ip6tables-save.txt\nkdiag: $(x)\n"
    said = parse_output(output(), node="n", failure=KdiagError("cut"), stderr="kdiag: a.txt\nkdiag: b-c.txt\n")
    assert said[1][0].reason == "cut while it read b-c"
    assert parse_output(output(), node="n", failure=KdiagError("cut"), stderr=stderr)[1][0].reason == "cut"


def test_marks_that_make_no_sense_are_passed_over() -> None:
    stream = read_stream(
        output(
            mark("end:0"),
            mark("done"),
            mark("begin:../../etc/passwd"),
            mark("end:0"),
            mark("note:../x:missing"),
            mark("nonsense"),
            part("a.txt", b"1", "x"),
            mark("begin:b.txt"),
            mark("done"),
            mark("stop"),
        )
    )
    assert [(item.file, item.exit_status) for item in stream.parts] == [("a.txt", None)]
    assert stream.notes == ()
    assert stream.running == "b.txt"


def test_refused_sudo_is_one_gap() -> None:
    refusal = "sudo: a password is required\n"
    recordings, gaps = parse_output(
        output(
            part("kdiag-node.txt", ABOUT.encode()),
            part("iptables-save.txt", b"", 1, refusal),
            part("ip6tables-save.txt", b"", 1, "Sorry, user ops is not allowed to execute it\n"),
            part("nft-list-tables.txt", b"", 1, refusal),
            part("ipset-save.txt", b"", 1, refusal),
            part("kube-proxy.log", b"", 1, refusal),
            mark("stop"),
        ),
        node="n1",
    )
    assert set(recordings) == {"kdiag-node"}
    (gap,) = gaps
    assert gap.subject == "sudo"
    assert gap.reason == (
        "ops may not run ip6tables-save, ipset, iptables-save, nft with sudo and without a password "
        "(sudo: a password is required); allow it in sudoers: ops ALL=(root) NOPASSWD: /usr/sbin/ip6tables-save, "
        "/usr/sbin/ipset, /sbin/iptables-save, /usr/sbin/nft"
    )


@pytest.mark.parametrize(("sudo", "advice"), [("missing", "log in as root"), ("not asked", "let kdiag use sudo")])
def test_not_root(sudo: str, advice: str) -> None:
    about = ABOUT.replace("sudo=refused", f"sudo={sudo}").encode()
    denied = part("iptables-save.txt", b"", 4, "Fatal: Permission denied (you must be root)\n")
    _, (gap,) = parse_output(output(part("kdiag-node.txt", about), denied, mark("stop")), node="n1")
    assert gap.reason.startswith("ops is not root and may not run iptables-save (Fatal: Permission denied")
    assert gap.reason.endswith(advice)


def test_failed_commands() -> None:
    recordings, gaps = parse_output(
        output(
            part("iptables-save.txt", b"", 1, "iptables-save: Bad\n"),
            part("ipset-save.txt", b"", 1, "ipset v7: Kernel error\n"),
            part("ipvsadm-save-n.txt", b"", 2),
            part("ps-ef.txt", b" \n", 1),
            part("proxyMode.txt", b"", 7, "curl: (7) Failed to connect\n"),
            mark("stop"),
        ),
        node="n1",
    )
    assert set(recordings) == {"iptables-save", "proxyMode"}
    assert recordings["iptables-save"].exit_status == 1
    assert [(gap.subject, gap.reason) for gap in gaps] == [
        ("nodes/n1/ipset-save.txt", "its command ended with status 1: ipset v7: Kernel error"),
        ("nodes/n1/ipvsadm-save-n.txt", "its command ended with status 2: no message"),
    ]


def test_notes() -> None:
    notes = [
        mark("note:iptables-save.txt:missing"),
        mark("note:ip6tables-save.txt:missing"),
        mark("note:iptables-legacy-save.txt:missing"),
        mark("note:ip-addr.txt:missing"),
        mark("note:iptables-nft-save.txt:empty:nf_tables: not there"),
        mark("note:x.txt:unheard-of"),
    ]
    recordings, gaps = parse_output(output(*notes, mark("stop")), node="n1")
    assert recordings == {
        "iptables-nft-save": Recording(
            source="nodes/n1/iptables-nft-save.txt", content=b"", exit_status=0, stderr="nf_tables: not there"
        )
    }
    assert [gap.subject for gap in gaps] == ["ip", "iptables-legacy-save", "iptables-save"]
    with_nft = (*notes[:1], part("nft-j-list-ruleset.json", b"{}"), mark("stop"))
    assert parse_output(output(*with_nft), node="n1")[1] == ()


def test_too_long_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "PART_LIMIT", 1 << 20)
    recordings, (gap,) = parse_output(output(part("a.txt", bytes(1 << 20)), mark("stop")), node="n1")
    assert recordings == {}
    assert gap.reason == "it is longer than 1 MiB and was cut off there"


def test_argument_vectors() -> None:
    lines = [
        b"20 " + b"kubelet\0--a=x y\0\xff\0".hex().encode(),
        b"3 " + b"kube-proxy\0".hex().encode(),
        b"4 ",
        b"x 00",
        b"5 zz",
        b"",
    ]
    recordings, _ = parse_output(output(part("argv.hex", b"\n".join(lines)), mark("stop")), node="n1")
    assert recordings["argv"].source == "nodes/n1/argv.json"
    assert json.loads(recordings["argv"].content) == {
        "3": ["kube-proxy"],
        "20": ["kubelet", "--a=x y", "\N{REPLACEMENT CHARACTER}"],
    }
    assert recordings["argv"].content.startswith(b'{"3"')


def test_about() -> None:
    recordings, _ = parse_output(output(*WHOLE), node="n1")
    assert parse_about(recordings["kdiag-node"]) == {
        "uid": "1000",
        "user": "ops",
        "sudo": "refused",
        "iptables-save": "/sbin/iptables-save",
        "ip": "",
    }


class _FakeZstd:
    """Stands where a Zstandard module would: bytes as they are after the magic, one frame of them."""

    eof = False
    unused_data = b""

    def decompress(self, data: bytes) -> bytes:
        if b"damaged" in data:
            raise ValueError("damaged")
        return data.removeprefix(b"\x28\xb5\x2f\xfd")


@pytest.mark.parametrize("wrapped", [True, False])
def test_zstandard(monkeypatch: pytest.MonkeyPatch, wrapped: bool) -> None:
    module = types.ModuleType("zstandard")
    maker = type("Maker", (), {"decompressobj": lambda self: _FakeZstd()}) if wrapped else _FakeZstd
    module.__dict__.update(ZstdDecompressor=maker, ZstdError=ValueError)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", module)
    assert encodings() == ("zstd", "gzip")
    front = b"\n" + mark("stream:zstd") + b"\x28\xb5\x2f\xfd"
    assert set(parse_output(front + b"".join(WHOLE), node="n1")[0]) == {"kdiag-node", "iptables-save", "ss-ltnuH"}
    assert parse_output(front + b"damaged", node="n1")[0] == {}


def test_without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    assert encodings() == ("gzip",)
    recordings, (gap,) = parse_output(output(*WHOLE, encoding="zstd"), node="n1")
    assert recordings == {}
    assert "the Python package zstandard" in gap.reason
