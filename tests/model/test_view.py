"""What several checks ask of a view is worked out once."""

from __future__ import annotations

from msgspec.structs import replace

from kdiag.model.cluster import ClusterState
from kdiag.model.view import View
from tests.checks.builders import view


def test_one_reading_is_read_once() -> None:
    seen: list[ClusterState] = []

    def read(state: ClusterState) -> int:
        seen.append(state)
        return len(seen)

    single = view()
    assert single.of_both(read) == (1, 1)
    assert seen == [single.cluster]


def test_two_readings_are_read_each_the_earlier_one_first() -> None:
    both = replace(view(), before=ClusterState(server_version="v1.20.2"))
    assert both.of_both(lambda state: state.server_version) == ("v1.20.2", both.cluster.server_version)


def test_what_is_worked_out_is_that_of_the_view() -> None:
    asked: list[str] = []

    def name(subject: View) -> str:
        asked.append(subject.name)
        return subject.name

    one = view()
    other = replace(one, name="other")
    assert [one.once(name), one.once(name), other.once(name)] == [one.name, one.name, "other"]
    assert asked == [one.name, "other"]
