"""Large texts are read into memory that nobody holds any more, and what somebody holds does not change."""

from __future__ import annotations

from io import BytesIO

import pytest

from kdiag.gather.large_texts import LargeTexts

SIZE = 1 << 20


class Stream(BytesIO):
    """Counts how it is read: into new memory or into some that was there."""

    new = 0
    again = 0

    def read(self, size: int | None = -1, /) -> bytes:
        Stream.new += 1
        return super().read(size)

    def readinto(self, buffer: object, /) -> int:
        Stream.again += 1
        return super().readinto(buffer)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def counts() -> None:
    Stream.new = Stream.again = 0


def text(letter: str, size: int = SIZE) -> bytes:
    return letter.encode() * size


def read(texts: LargeTexts, content: bytes, size: int | None = None) -> bytes:
    return texts.read(Stream(content), len(content) if size is None else size)


def test_texts_that_nobody_holds_share_memory() -> None:
    texts = LargeTexts()
    for letter, size in zip("abcde", (SIZE + 20, SIZE + 29, SIZE, SIZE + 100_000, SIZE + 20), strict=True):
        found = read(texts, text(letter, size))
        assert found == text(letter, size)
        del found
    assert (Stream.new, Stream.again) == (1, 4)


def test_a_text_that_is_held_stays_as_it_is() -> None:
    texts = LargeTexts()
    first = read(texts, text("a"))
    part = memoryview(read(texts, text("b")))
    third = read(texts, text("c"))
    fourth = read(texts, text("d"))
    assert (first, bytes(part), third, fourth) == (text("a"), text("b"), text("c"), text("d"))
    assert (Stream.new, Stream.again) == (4, 0)
    del third
    fifth = read(texts, text("e"))
    assert (first, bytes(part), fourth, fifth) == (text("a"), text("b"), text("d"), text("e"))
    assert (Stream.new, Stream.again) == (4, 1)


def test_memory_of_another_size_is_let_go() -> None:
    texts = LargeTexts()
    for letter, size in zip("abc", (SIZE, 2 * SIZE, SIZE), strict=True):
        assert read(texts, text(letter, size)) == text(letter, size)
    assert (Stream.new, Stream.again) == (3, 0)


def test_two_texts_of_each_node() -> None:
    texts = LargeTexts()
    kept = [read(texts, text("a", size)) for size in (SIZE, 3 * SIZE)]
    for letter in "bcd":
        both = [read(texts, text(letter, size)) for size in (SIZE, 3 * SIZE)]
        assert both == [text(letter, size) for size in (SIZE, 3 * SIZE)]
        del both
    assert kept == [text("a", size) for size in (SIZE, 3 * SIZE)]
    assert (Stream.new, Stream.again) == (4, 4)


def test_a_stream_that_ends_before_and_small_texts() -> None:
    texts = LargeTexts()
    assert read(texts, text("a")) == text("a")
    assert read(texts, text("b", SIZE - 5), SIZE) == text("b", SIZE - 5)
    assert read(texts, b"small") == b"small"
    assert read(texts, text("c")) == text("c")
    assert (Stream.new, Stream.again) == (2, 2)
