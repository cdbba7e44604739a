"""Addresses as text, and sets of them against sets of numbers."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given
from hypothesis import strategies as st

from kdiag.model.addresses import Address, AddressSet, Family, address_text, family_of, parse_address

TOP = (1 << Family.IPV4.bits) - 1
# Both ends of the family are met, and in between there is room for gaps.
NUMBERS = [*range(24), *range(TOP - 7, TOP + 1)]


def held(addresses: AddressSet) -> set[int]:
    """The numbers of NUMBERS that the set holds."""
    return {number for number in NUMBERS if any(low <= number <= high for low, high in addresses.ranges)}


def sets(*, most: int = 12) -> st.SearchStrategy[AddressSet]:
    return st.lists(st.sampled_from(NUMBERS), max_size=most).map(
        lambda numbers: AddressSet.of_numbers(Family.IPV4, numbers)
    )


def is_tidy(addresses: AddressSet) -> bool:
    """True if the ranges are sorted, disjoint and not adjacent."""
    pairs = zip(addresses.ranges, addresses.ranges[1:], strict=False)
    return all(low <= high for low, high in addresses.ranges) and all(one[1] + 1 < two[0] for one, two in pairs)


@given(
    sets(),
    st.one_of(sets(), sets(most=1), st.builds(AddressSet.span, st.just(Family.IPV4), *[st.sampled_from(NUMBERS)] * 2)),
)
def test_what_two_sets_share_and_what_one_has_alone(left: AddressSet, right: AddressSet) -> None:
    for found, expected in (
        (left & right, held(left) & held(right)),
        (right & left, held(left) & held(right)),
        (left - right, held(left) - held(right)),
        (right - left, held(right) - held(left)),
        (left | right, held(left) | held(right)),
    ):
        assert held(found) == expected
        assert is_tidy(found)


@given(st.lists(sets(), min_size=1, max_size=4))
def test_the_union_of_several_sets(several: list[AddressSet]) -> None:
    together = several[0]
    for item in several[1:]:
        together = together | item
    assert AddressSet.union(several) == together


@given(st.text(alphabet="0123456789.:af", max_size=16) | st.ip_addresses().map(str))
@example("node-0001")
@example("ip-10-0-0-1.ec2.internal")
@example("a.b.c.d")
@example("1.2.3")
@example("::ffff:10.0.0.1")
def test_an_address_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        expected = ipaddress.ip_address(text)
    except ValueError:
        expected = None
    assert parse_address(text) == expected
    assert parse_address(f" [{text}%eth0] ") == expected


@given(st.ip_addresses())
@example(ipaddress.ip_address("0.0.0.0"))
@example(ipaddress.ip_address("255.255.255.255"))
@example(ipaddress.ip_address("::ffff:10.0.0.1"))
def test_text_is_made_of_a_number_as_the_standard_library_does(address: Address) -> None:
    assert address_text(family_of(address), int(address)) == str(address).encode()
