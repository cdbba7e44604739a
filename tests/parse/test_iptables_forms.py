"""Forms of chains: what is a Service's own is taken out, and what is left tells chains apart."""

from __future__ import annotations

import pytest

from kdiag.parse.endpoint_forms import EndpointForms
from kdiag.parse.iptables_forms import ChainForms, ChainText
from kdiag.parse.service_words import Sent

A, B, C = (letter.encode() * 16 for letter in "ABC")
SVC = b"KUBE-SVC-" + b"S" * 16
OTHER = b"KUBE-SVC-" + b"T" * 16


def chain(*rules: bytes, name: bytes = SVC) -> bytes:
    return b"".join(b"-A " + name + b" " + rule + b"\n" for rule in rules)


def share(probability: str, target: bytes) -> bytes:
    return b"-m statistic --mode random --probability " + probability.encode() + b" -j KUBE-SEP-" + target


def read(*rules: bytes, name: bytes = SVC, forms: ChainForms | None = None) -> ChainText:
    return (forms or ChainForms()).read(name, chain(*rules, name=name))


MASQ = b"! -s 10.244.0.0/16 -d 10.96.0.%d/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ"


def test_chains_that_differ_in_their_own_have_one_form() -> None:
    forms = ChainForms()
    two = read(MASQ % 1, share("0.50000000000", A), b"-j KUBE-SEP-" + B, forms=forms)
    three = read(
        MASQ % 2,
        share("0.33333333349", C),
        share("0.50000000000", A),
        b'-m comment --comment "default/web" -j KUBE-SEP-' + B,
        name=OTHER,
        forms=forms,
    )
    assert two.form.number == three.form.number
    assert two.form.regular
    assert (two.endpoints, three.endpoints) == ((A, B), (C, A, B))
    assert (two.keys, three.keys) == (((b"10.96.0.1", b"tcp", b"80"),), ((b"10.96.0.2", b"tcp", b"80"),))


@pytest.mark.parametrize(
    "comment",
    [b'"default/web cluster IP"', b'"default/web \\" cluster IP"', b"default/web", b'"-d 10.96.0.9/32 -p tcp"'],
    ids="quoted escaped bare key".split(),
)
def test_a_comment_makes_no_other_form(comment: bytes) -> None:
    forms = ChainForms()
    plain = read(MASQ % 1, b"-j KUBE-SEP-" + A, forms=forms)
    rule = (MASQ % 2).replace(b" -m tcp", b" -m comment --comment " + comment + b" -m tcp")
    found = read(rule, b"-j KUBE-SEP-" + A, name=OTHER, forms=forms)
    assert found.form is plain.form
    assert found.keys == ((b"10.96.0.2", b"tcp", b"80"),)


def test_a_chain_that_is_like_one_before_is_read_alike() -> None:
    endpoints = EndpointForms({(b"", b"tcp"): {A: b"10.0.0.2:80", B: b"10.0.0.1:80"}})
    forms = ChainForms()
    rules = MASQ % 1, share("0.50000000000", A), b"-j KUBE-SEP-" + B
    first = forms.read(SVC, chain(*rules), endpoints)
    second = forms.read(OTHER, chain(MASQ % 2, share("0.50000000000", B), b"-j KUBE-SEP-" + A, name=OTHER), endpoints)
    assert second.form is first.form
    assert (first.endpoints, second.endpoints) == ((A, B), (B, A))
    assert first.sent == Sent(b"", b"tcp", b"10.0.0.2:80\n10.0.0.1:80")
    assert second.sent == Sent(b"", b"tcp", b"10.0.0.1:80\n10.0.0.2:80")
    assert second.keys == ((b"10.96.0.2", b"tcp", b"80"),)
    missing = forms.read(SVC, chain(MASQ % 1, share("0.50000000000", A), b"-j KUBE-SEP-" + C), endpoints)
    assert (missing.form, missing.endpoints, missing.sent) == (first.form, (A, C), None)
    between = b"\n-A %b -j" % SVC
    crooked = chain(*rules).replace(between, b" %b -j" % (b"x" * (len(between) - 4)))
    assert forms.read(SVC, crooked, endpoints).form.number != first.form.number
    for more in (chain(*rules, b"-j RETURN"), chain(*rules)[:-1] + b" --goto\n", chain(*rules, rules[-1])):
        assert forms.read(SVC, more, endpoints).form is not first.form
    always = chain(MASQ % 1, b"-j KUBE-SEP-" + A, b"-j KUBE-SEP-" + B)
    assert [forms.read(SVC, always, endpoints).sent for _ in range(2)] == [None, None]
    nameless = forms.read(SVC, chain(*rules), endpoints, keep_names=False)
    assert (nameless.endpoints, nameless.sent) == ((), first.sent)


@pytest.mark.parametrize(
    "rules",
    [
        (share("0.60000000000", A), b"-j KUBE-SEP-" + B),
        (share("0.50000000000", A), share("0.50000000000", B)),
        (b"-j KUBE-SEP-" + A, b"-j KUBE-SEP-" + B),
        (b"-p tcp -j KUBE-SEP-" + A,),
        (share("0.50000000000", A), b"-j KUBE-SEP-" + B, b"-j DROP"),
        (b"-j KUBE-SEP-" + A + b" -m comment",),
    ],
    ids="uneven no-last two-always narrowed followed odd".split(),
)
def test_any_other_chain_has_another_form(rules: tuple[bytes, ...]) -> None:
    forms = ChainForms()
    usual = {read(share("0.50000000000", A), b"-j KUBE-SEP-" + B, forms=forms).form.number}
    usual.add(read(b"-j KUBE-SEP-" + A, forms=forms).form.number)
    found = read(*rules, forms=forms)
    assert not found.form.regular or found.form.number not in usual


def test_affinity_has_a_run_of_its_own() -> None:
    rule = (
        b"-m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-%b --mask 255.255.255.255 --rsource -j KUBE-SEP-%b"
    )
    found = read(rule % (A, A), rule % (B, B), share("0.50000000000", A), b"-j KUBE-SEP-" + B)
    assert found.form.regular
    assert {tuple(found.endpoints[place] for place in run) for run in found.form.runs} == {(A, B)}
    crossed = read(rule % (A, B), rule % (B, A), share("0.50000000000", A), b"-j KUBE-SEP-" + B)
    assert len({tuple(crossed.endpoints[place] for place in run) for run in crossed.form.runs}) == 2


def test_other_chains_of_the_service_are_links() -> None:
    ext = b"KUBE-EXT-" + b"S" * 16
    found = read(b"-s 10.244.0.0/16 -j " + SVC, b"-j KUBE-SVL-" + A, name=ext)
    assert found.links == (SVC, b"KUBE-SVL-" + A)
    assert found.endpoints == ()


def test_a_literal_that_is_not_its_own_stays() -> None:
    forms = ChainForms()
    one = read(b"-s 10.1.0.0/16 -j KUBE-SVL-" + A, name=b"KUBE-FW-" + A, forms=forms)
    other = read(b"-s 10.2.0.0/16 -j KUBE-SVL-" + A, name=b"KUBE-FW-" + A, forms=forms)
    assert one.form.number != other.form.number
    assert any(b"10.2.0.0/16" in text for text in forms.texts)


def test_a_name_that_kube_proxy_does_not_give_is_told() -> None:
    forms = ChainForms()
    read(b"-j KUBE-SEP-" + A + b"LONG", forms=forms)
    assert not forms.whole


def test_a_probability_that_is_no_number_makes_a_form_of_its_own() -> None:
    forms = ChainForms()
    usual = read(share("0.50000000000", A), b"-j KUBE-SEP-" + B, forms=forms)
    for odd in ("0.5.0", ".", "0.50000000000.", "1e-1"):
        assert read(share(odd, A), b"-j KUBE-SEP-" + B, forms=forms).form.number != usual.form.number
