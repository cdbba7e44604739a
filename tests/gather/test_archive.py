"""Reading a stranger's directory or archive: nothing escapes, nothing explodes, nothing is lost silently."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import sys
import tarfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import SnapshotError
from kdiag.gather.contents import Contents, Limits
from kdiag.gather.places import read_contents

SMALL = Limits(max_files=20, max_file_bytes=1000, max_total_bytes=3000)

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", **fields: object) -> Entry:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, content


def tar_bytes(*entries: Entry, format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for member, content in entries:
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def problems(contents: Contents) -> dict[str, str]:
    return {"/".join(problem.path): problem.reason for problem in contents.problems}


GOOD = entry("cluster/services.json", b"{}")


@pytest.fixture
def read_tar(tmp_path: Path) -> Callable[..., Contents]:
    def read(*entries: Entry, limits: Limits = Limits(), pack: Callable[[bytes], bytes] = gzip.compress) -> Contents:  # noqa: B008
        return read_contents(write(tmp_path / "x.tar.gz", pack(tar_bytes(*entries))), limits)

    return read


class TestPlain:
    def test_a_directory_is_read_with_its_directories(self, tmp_path: Path) -> None:
        write(tmp_path / "manifest.json", b"{}")
        write(tmp_path / "nodes" / "n1" / "iptables-save.txt.gz", gzip.compress(b"*nat"))
        (tmp_path / "nodes" / "n2").mkdir()
        contents = read_contents(tmp_path, Limits())
        assert contents.files == {("manifest.json",): b"{}", ("nodes", "n1", "iptables-save.txt.gz"): b"*nat"}
        assert contents.directories == {("nodes",), ("nodes", "n1"), ("nodes", "n2")}
        assert contents.problems == []

    def test_only_known_places_of_a_directory_are_looked_at(self, tmp_path: Path) -> None:
        write(tmp_path / "cluster" / "services.json", b"{}")
        write(tmp_path / "cluster" / ".hidden", b"x")
        write(tmp_path / ".ssh" / "id_rsa", b"x")
        write(tmp_path / "README.md", b"x")
        assert set(read_contents(tmp_path, Limits()).files) == {("cluster", "services.json")}

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "tar.gz"])
    def test_an_archive_is_known_by_its_content(
        self, read_tar: Callable[..., Contents], pack: Callable[[bytes], bytes]
    ) -> None:
        contents = read_tar(GOOD, entry("nodes/n1", type=tarfile.DIRTYPE), pack=pack)
        assert contents.files == {("cluster", "services.json"): b"{}"}
        assert contents.directories == {("cluster",), ("nodes",), ("nodes", "n1")}

    @pytest.mark.parametrize("prefix", ["./", "prod/", "./prod/"])
    def test_one_directory_around_all_is_taken_off(self, read_tar: Callable[..., Contents], prefix: str) -> None:
        contents = read_tar(
            entry(prefix.rstrip("/"), type=tarfile.DIRTYPE),
            entry(f"{prefix}cluster/services.json", b"{}"),
            entry(f"{prefix}nodes/n1/a.txt", b"a"),
            entry(f"{prefix}README.md", b"x"),
            entry(f"{prefix}._manifest.json", b"x"),
        )
        assert set(contents.files) == {("cluster", "services.json"), ("nodes", "n1", "a.txt")}
        assert contents.problems == []

    def test_two_snapshots_in_one_archive_are_refused(self, read_tar: Callable[..., Contents]) -> None:
        with pytest.raises(SnapshotError, match="several snapshots: a, b"):
            read_tar(entry("a/cluster/x.json"), entry("b/cluster/x.json"))

    def test_long_names_are_read(self, tmp_path: Path) -> None:
        name = "n" * 200
        for number, tar_format in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
            content = tar_bytes(entry(f"nodes/{name}/a.txt", b"a"), format=tar_format)
            contents = read_contents(write(tmp_path / f"{number}.tar", content), Limits())
            assert contents.files == {("nodes", name, "a.txt"): b"a"}

    def test_the_path_may_be_a_link_of_the_users_own(self, tmp_path: Path) -> None:
        write(tmp_path / "real.tar", tar_bytes(GOOD))
        (tmp_path / "link.tar").symlink_to(tmp_path / "real.tar")
        assert read_contents(tmp_path / "link.tar", Limits()).files


class TestNothingToRead:
    def test_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SnapshotError, match="No such file"):
            read_contents(tmp_path / "nowhere", Limits())

    def test_a_path_with_a_zero_byte(self) -> None:
        with pytest.raises(SnapshotError, match="cannot open"):
            read_contents(Path("a\0b"), Limits())

    def test_a_fifo(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(SnapshotError, match="neither a directory nor a regular file"):
            read_contents(tmp_path / "fifo", Limits())

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"hello",
            b"x" * 4096,
            gzip.compress(b"", mtime=0),
            gzip.compress(b"no tar", mtime=0),
            gzip.compress(b"y" * 4096, mtime=0),
            gzip.compress(b"z" * 9999, mtime=0)[:40],
            b"\x1f\x8b\x08garbage that is no deflate stream",
        ],
    )
    def test_a_file_that_is_no_archive(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(SnapshotError, match="as an archive") as caught:
            read_contents(write(tmp_path / "x.tar.gz", content), Limits())
        assert "cluster/" in caught.value.hint

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_directory_without_the_right_to_list_it(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir(mode=0o000)
        with pytest.raises(SnapshotError, match="Permission denied"):
            read_contents(tmp_path / "d", Limits())

    def test_a_directory_that_goes_away(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def gone(path: Path) -> list[str]:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "listdir", gone)
        with pytest.raises(SnapshotError, match="Permission denied"):
            read_contents(tmp_path, Limits())


class TestHostileNames:
    @pytest.mark.parametrize(
        "name",
        [
            "/etc/cluster/services.json",
            "../cluster/services.json",
            "cluster/../../services.json",
            "nodes/a/../b/c.txt",
            "nodes/\x1b[31mred/iptables-save.txt",
            "nodes/a\nb/c.txt",
            "nodes/\u202egpj/c.txt",
            "nodes/\udcff/c.txt",
        ],
    )
    def test_in_an_archive(self, tmp_path: Path, name: str) -> None:
        content = tar_bytes(entry(name, b"evil"), GOOD, format=tarfile.GNU_FORMAT)
        contents = read_contents(write(tmp_path / "x.tar", content), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert [problem.reason for problem in contents.problems] == [
            "its name leads out of the snapshot or cannot be printed: not read"
        ]

    @pytest.mark.parametrize("name", [b"\x1b[31mred", b"a\nb", b"\xff\xfe"])
    def test_in_a_directory(self, tmp_path: Path, name: bytes) -> None:
        write(tmp_path / "cluster" / "services.json", b"{}")
        directory = os.fsencode(tmp_path) + b"/nodes/" + name
        os.makedirs(directory)
        contents = read_contents(tmp_path, Limits())
        assert contents.directories == {("cluster",), ("nodes",)}
        assert [problem.reason for problem in contents.problems] == [
            "its name has characters that cannot be printed: not read"
        ]


class TestHostileTypes:
    @pytest.mark.parametrize(
        "kind",
        [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"],
    )
    def test_links_and_devices_in_an_archive(self, read_tar: Callable[..., Contents], kind: bytes) -> None:
        contents = read_tar(entry("nodes/n1/a.txt", type=kind, linkname="/etc/passwd"), GOOD)
        assert set(contents.files) == {("cluster", "services.json")}
        assert "links and devices are never followed" in problems(contents)["nodes/n1/a.txt"]

    def test_links_and_pipes_in_a_directory(self, tmp_path: Path) -> None:
        secret = write(tmp_path / "secret", b"secret")
        root = tmp_path / "snapshot"
        write(root / "cluster" / "services.json", b"{}")
        (root / "cluster" / "pods.json").symlink_to(secret)
        (root / "nodes").mkdir()
        (root / "nodes" / "n1").symlink_to(tmp_path)
        (root / "cluster-after").symlink_to(tmp_path)
        os.mkfifo(root / "cluster" / "nodes.json")
        contents = read_contents(root, Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert set(problems(contents)) == {"cluster/pods.json", "nodes/n1", "cluster-after", "cluster/nodes.json"}

    def test_a_file_that_turns_into_a_link_while_it_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path / "cluster" / "services.json", b"{}")
        real_open = os.open

        def swap(name: Path, flags: int) -> int:
            path.unlink()
            os.mkfifo(path)
            return real_open(name, flags)

        monkeypatch.setattr(os, "open", swap)
        assert problems(read_contents(tmp_path, Limits())) == {
            "cluster/services.json": "cannot be read: not a regular file"
        }

    def test_files_and_directories_that_changed_places(self, tmp_path: Path) -> None:
        write(tmp_path / "cluster", b"x")
        write(tmp_path / "manifest.json" / "x", b"x")
        write(tmp_path / "nodes" / "README", b"x")
        write(tmp_path / "nodes" / "n1" / "iptables-save.txt" / "x", b"x")
        write(tmp_path / "nodes" / "n1" / "ip-addr.json", b"[]")
        contents = read_contents(tmp_path, Limits())
        assert set(contents.files) == {("nodes", "n1", "ip-addr.json")}
        assert problems(contents) == {
            "cluster": "a file where a directory should be: not read",
            "manifest.json": "a directory where a file should be: not read",
            "nodes/README": "a file where a directory should be: not read",
            "nodes/n1/iptables-save.txt": "a directory where a file should be: not read",
        }

    def test_the_same_in_an_archive(self, read_tar: Callable[..., Contents]) -> None:
        contents = read_tar(
            entry("cluster", b"x"),
            entry("manifest.json", type=tarfile.DIRTYPE),
            entry("nodes/README", b"x"),
            entry("nodes/n1/iptables-save.txt/x", b"x"),
            entry("nodes/n1/ip-addr.json", b"[]"),
        )
        assert set(contents.files) == {("nodes", "n1", "ip-addr.json")}
        assert problems(contents) == {
            "cluster": "a file where a directory should be: not read",
            "manifest.json": "a directory where a file should be: not read",
            "nodes/README": "a file where a directory should be: not read",
            "nodes/n1/iptables-save.txt/x": "it lies deeper than anything in a snapshot: not read",
        }

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_an_unreadable_file(self, tmp_path: Path) -> None:
        write(tmp_path / "cluster" / "services.json", b"{}").chmod(0o000)
        assert problems(read_contents(tmp_path, Limits())) == {
            "cluster/services.json": "cannot be read: Permission denied"
        }

    def test_a_name_that_comes_twice(self, read_tar: Callable[..., Contents]) -> None:
        contents = read_tar(GOOD, entry("cluster/services.json", b"other"))
        assert contents.files == {("cluster", "services.json"): b"{}"}
        assert "twice" in problems(contents)["cluster/services.json"]

    def test_a_sparse_file(self, tmp_path: Path) -> None:
        content = bytearray(tar_bytes(entry("cluster/a.json", b"x" * 512), GOOD, format=tarfile.GNU_FORMAT))
        content[156:157] = tarfile.GNUTYPE_SPARSE
        content[386 : 386 + 24] = b"%011o\0%011o\0" % (0, 512)  # one extent
        content[483 : 483 + 12] = b"%011o\0" % (1 << 32)  # real size
        content[148:156] = b"        "
        content[148:156] = b"%06o\0 " % sum(content[:512])
        contents = read_contents(write(tmp_path / "x.tar", bytes(content)), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert "cluster/a.json" in problems(contents)


class TestLimits:
    def test_a_file_too_large(self, tmp_path: Path, read_tar: Callable[..., Contents]) -> None:
        write(tmp_path / "d" / "cluster" / "services.json", b"{}")
        write(tmp_path / "d" / "nodes" / "n1" / "a.txt", b"x" * 1001)
        for contents in (
            read_contents(tmp_path / "d", SMALL),
            read_tar(entry("nodes/n1/a.txt", b"x" * 1001), GOOD, limits=SMALL),
        ):
            assert set(contents.files) == {("cluster", "services.json")}
            assert problems(contents) == {"nodes/n1/a.txt": "it is larger than 1000 bytes: not read"}

    def test_a_sparse_file_of_two_gigabytes_is_given_up_early(self, tmp_path: Path) -> None:
        path = write(tmp_path / "nodes" / "n1" / "a.txt", b"")
        os.truncate(path, 2 << 30)
        assert problems(read_contents(tmp_path, Limits(max_file_bytes=1 << 20))) == {
            "nodes/n1/a.txt": "it is larger than 1 MiB: not read"
        }

    def test_a_gzip_bomb_inside(self, read_tar: Callable[..., Contents]) -> None:
        bomb = gzip.compress(bytes(400_000))
        assert len(bomb) < 1000
        contents = read_tar(entry("nodes/n1/a.txt.gz", bomb), GOOD, limits=SMALL)
        assert problems(contents) == {"nodes/n1/a.txt.gz": "it is larger than 1000 bytes: not read"}
        assert set(contents.files) == {("cluster", "services.json")}

    def test_many_files_that_are_too_much_together(self, tmp_path: Path, read_tar: Callable[..., Contents]) -> None:
        entries = [entry(f"nodes/n1/{number}.txt", b"x" * 900) for number in range(6)]
        for member, content in entries:
            write(tmp_path / "d" / member.name, content)
        for contents in (read_tar(*entries, limits=SMALL), read_contents(tmp_path / "d", SMALL)):
            assert len(contents.files) == 3
            assert problems(contents) == {"": "it holds more than 3000 bytes: the rest was not read"}

    def test_an_archive_that_is_a_bomb_in_parts_nobody_asked_for(self, read_tar: Callable[..., Contents]) -> None:
        limits = Limits(max_files=5, max_file_bytes=10_000, max_total_bytes=20_000)
        contents = read_tar(GOOD, entry("elsewhere/x", bytes(1_000_000)), entry("cluster/pods.json"), limits=limits)
        assert set(contents.files) == {("cluster", "services.json")}
        assert problems(contents) == {"": "it holds more than 20000 bytes: the rest was not read"}

    def test_too_many_files(self, tmp_path: Path, read_tar: Callable[..., Contents]) -> None:
        entries = [entry(f"nodes/n1/{number:02}.txt", b"") for number in range(25)]
        for member, content in entries:
            write(tmp_path / "d" / member.name, content)
        for contents in (read_tar(*entries, limits=SMALL), read_contents(tmp_path / "d", SMALL)):
            assert 15 < len(contents.files) <= 20
            assert problems(contents) == {"": "it holds more than 20 files: the rest was not read"}

    def test_a_flood_of_problems_is_summed_up(self, read_tar: Callable[..., Contents]) -> None:
        contents = read_tar(GOOD, *(entry(f"nodes/n{n}/a", type=tarfile.SYMTYPE) for n in range(250)))
        assert len(contents.problems) == 201
        assert contents.problems[-1].reason == "50 more parts could not be read"

    def test_a_header_that_claims_gigabytes(self, tmp_path: Path) -> None:
        for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.DIRTYPE):
            member, _ = entry("x", type=kind, size=8 << 30)
            header = member.tobuf(tarfile.GNU_FORMAT)
            with pytest.raises(SnapshotError, match="impossible size"):
                read_contents(write(tmp_path / "x.tar", header + bytes(1024)), Limits())

    def test_a_negative_size(self, tmp_path: Path) -> None:
        member, _ = entry("cluster/a.json", size=-4096)
        content = tar_bytes(GOOD)[:1024] + member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
        contents = read_contents(write(tmp_path / "x.tar", content), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert "impossible size" in problems(contents)[""]

    def test_extended_headers_chained_without_end(self, tmp_path: Path) -> None:
        member, _ = entry("x", type=tarfile.XHDTYPE, size=0)
        chain = member.tobuf(tarfile.GNU_FORMAT) * (sys.getrecursionlimit() + 100)
        content = tar_bytes(GOOD)[:1024] + chain + bytes(1024)
        contents = read_contents(write(tmp_path / "x.tar", content), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert "damaged" in problems(contents)[""]


class TestDamage:
    def test_an_archive_cut_short_keeps_what_came_before(self, tmp_path: Path) -> None:
        noise = random.Random(1).randbytes(4000)
        whole = gzip.compress(tar_bytes(GOOD, entry("nodes/n1/a.txt", noise), entry("nodes/n2/a.txt", noise)))
        contents = read_contents(write(tmp_path / "x.tar.gz", whole[: len(whole) // 2]), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert "damaged or cut short" in problems(contents)[""]

    @pytest.mark.parametrize("length", [1024, 1024 + 200, 1024 + 512, 1024 + 512 + 10])
    def test_a_plain_archive_without_its_end_is_not_taken_for_a_short_one(self, tmp_path: Path, length: int) -> None:
        whole = tar_bytes(GOOD, entry("nodes/n1/a.txt", b"x" * 100))
        contents = read_contents(write(tmp_path / "x.tar", whole[:length]), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert "damaged or cut short" in problems(contents)[""]

    def test_a_damaged_header_is_not_taken_for_the_end(self, tmp_path: Path) -> None:
        content = bytearray(tar_bytes(GOOD, entry("nodes/n1/a.txt", b"x")))
        content[1024 + 10] ^= 0xFF
        contents = read_contents(write(tmp_path / "x.tar", bytes(content)), Limits())
        assert set(contents.files) == {("cluster", "services.json")}
        assert "bad checksum" in problems(contents)[""]

    PACKED = gzip.compress(b"*nat\n" * 50, mtime=0)

    @pytest.mark.parametrize("packed", [PACKED[:-9], b"plain", PACKED[:12] + b"\0\0" + PACKED[14:], PACKED + b"tail"])
    def test_a_damaged_file_inside_is_one_problem(self, read_tar: Callable[..., Contents], packed: bytes) -> None:
        contents = read_tar(entry("nodes/n1/iptables-save.txt.gz", packed), GOOD)
        assert set(contents.files) == {("cluster", "services.json")}
        assert "damaged or cut short" in problems(contents)["nodes/n1/iptables-save.txt.gz"]

    @given(st.data())
    def test_no_damage_makes_anything_but_a_snapshot_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        content = bytearray(tar_bytes(GOOD, entry("nodes/" + "n" * 120 + "/a.txt", b"x" * 700)))
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        length = data.draw(st.integers(0, len(content)))
        damaged = bytes(content[:length])
        path = write(
            tmp_path_factory.mktemp("fuzz") / "x", gzip.compress(damaged) if data.draw(st.booleans()) else damaged
        )
        with contextlib.suppress(SnapshotError):
            read_contents(path, SMALL)


class TestZstandard:
    MAGIC = b"\x28\xb5\x2f\xfd"

    def test_without_a_library_it_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module_name in ("compression.zstd", "zstandard"):
            monkeypatch.setitem(sys.modules, module_name, None)
        with pytest.raises(SnapshotError, match="Zstandard") as caught:
            read_contents(write(tmp_path / "x.tar.zst", self.MAGIC + b"..."), Limits())
        assert "zstd -d" in caught.value.hint

    @pytest.fixture(params=["compression.zstd", "zstandard"])
    def library(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A stand-in for the library: its `compression` is the magic number and nothing else."""

        class ZstdError(Exception):
            pass

        def open_stream(file: io.BufferedReader, **_options: object) -> io.BytesIO:
            content = file.read()[4:]
            if content == b"bad":

                class Bad(io.BytesIO):
                    def read1(self, size: int | None = -1) -> bytes:
                        raise ZstdError("bad frame")

                return Bad()
            return io.BytesIO(content)

        for module_name in ("compression.zstd", "zstandard"):
            monkeypatch.setitem(sys.modules, module_name, None)
        module = types.ModuleType(request.param)
        vars(module)["ZstdFile"] = open_stream
        vars(module)["ZstdError"] = ZstdError
        vars(module)["ZstdDecompressor"] = lambda: types.SimpleNamespace(stream_reader=open_stream)
        monkeypatch.setitem(sys.modules, request.param, module)
        monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
        return iter(())

    @pytest.mark.usefixtures("library")
    def test_with_a_library_it_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.tar.zst", self.MAGIC + tar_bytes(GOOD))
        assert set(read_contents(path, Limits()).files) == {("cluster", "services.json")}

    @pytest.mark.usefixtures("library")
    def test_damage_is_an_error_with_a_hint(self, tmp_path: Path) -> None:
        with pytest.raises(SnapshotError, match="bad frame"):
            read_contents(write(tmp_path / "x.tar.zst", self.MAGIC + b"bad"), Limits())
