from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kdiag.errors import KdiagError, UsageError
from kdiag.gather import text_files
from kdiag.gather.text_files import append_text_file, check_writable, read_text_file, write_text_file


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeffä\n".encode())
    assert read_text_file(path, "baseline") == "ä\n"


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc\xff")
    cases = (
        (path, "is not UTF-8: byte 4"),
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
    )
    for where, message in cases:
        with pytest.raises(UsageError) as caught:
            read_text_file(where, "baseline")
        assert "the baseline" in caught.value.message
        assert message in caught.value.message
    monkeypatch.setattr(text_files, "LIMIT_BYTES", 3)
    with pytest.raises(UsageError, match="is too large"):
        read_text_file(path, "baseline")


def test_writing_replaces_at_once_and_keeps_the_rights(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text_file(path, "one\ud800\n")
    assert path.read_text() == "one\\ud800\n"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    held = path.open()
    write_text_file(path, "two\n")
    assert path.read_text() == "two\n"
    assert held.read() == "one\\ud800\n"  # whoever reads the old file reads all of it
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write_text_file(link, "x")
    assert link.is_symlink()
    assert target.read_text() == "x"


def test_a_device_is_written_to() -> None:
    write_text_file(Path("/dev/null"), "x")
    assert not Path("/dev/null").is_file()


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(KdiagError) as caught:
        write_text_file(tmp_path / "a", "x")
    assert caught.value.message == f"cannot write {tmp_path / 'a'}: No space left on device"
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_appending(tmp_path: Path) -> None:
    path = tmp_path / "a"
    append_text_file(path, "one\n")
    append_text_file(path, "two\n")
    assert path.read_text() == "one\ntwo\n"
    with pytest.raises(KdiagError, match="cannot write"):
        append_text_file(tmp_path, "x")


def test_trying_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    for path, message in ((tmp_path, "is a directory"), (tmp_path / "no" / "a", "there is no directory")):
        with pytest.raises(UsageError, match=message) as caught:
            check_writable(path)
        assert caught.value.hint
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UsageError, match="Permission denied"):
        check_writable(tmp_path / "a")
