"""Where kdiag's silence about a change is right, and where its word about none is: each case by name, with its reason.

docs/trust.md lists them one by one with how often each occurred; the full run fails if one of them never does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdiag.model.dataplane import Behaviour, Disposition, FrontendKind
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Severity
from kdiag.walk.network import IPVS_DEVICE
from tests.proof.judging import Change, Judgement, names

REFUSING = {Disposition.REJECTED, Disposition.DROPPED, Disposition.UNTRANSLATED}
NONE_SUFFERS = "No Service was found to suffer from it now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A fate that changed and that no finding names, and why that is right."""

    name: str
    reason: str
    holds: Callable[[Judgement, Change], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """Findings although no packet's fate changed, and why they are right."""

    name: str
    reason: str
    holds: Callable[[Judgement], bool]


def _ends(behaviour: Behaviour | None) -> set[Disposition]:
    if behaviour is None:
        return set()
    return {end for case in behaviour.cases for outcome in case.outcomes for end in outcome.dispositions}


def _version(judgement: Judgement) -> tuple[int, ...]:
    version = judgement.now.node.version
    assert version is not None
    return version[:2]


def _left_to_kubelet(judgement: Judgement, change: Change) -> bool:
    # A cluster IP is never dropped by the mark.
    return change.legal and change.frontend.kind is not FrontendKind.CLUSTER_IP and _version(judgement) <= (1, 24)


def _not_its_port(judgement: Judgement, change: Change) -> bool:
    planes = (judgement.subject.sound.expected.behaviours, judgement.now.expected.behaviours)
    if any(change.frontend in plane for plane in planes):
        return False
    return _ends(change.before) <= REFUSING and _ends(change.now) <= REFUSING


def _accepted_by_others(judgement: Judgement, change: Change) -> bool:
    if _ends(change.now) != {Disposition.UNTRANSLATED} or not _ends(change.before) <= REFUSING:
        return False
    return any(
        item.code == "KD209"
        and item.severity is Severity.INFO
        and names(item, judgement.subject.node, change.service, change.frontend)
        for item in judgement.told
    )


def _somebody_elses_server(judgement: Judgement, change: Change) -> bool:
    node, frontend = judgement.now.node, change.frontend
    if node.mode is not ProxyMode.IPVS or frontend in judgement.subject.sound.expected.behaviours:
        return False
    held = {item.address for item in node.host.addresses or () if item.interface == IPVS_DEVICE}
    return frontend.address not in held


def _more_addresses_than_asked(judgement: Judgement, change: Change) -> bool:
    return (
        judgement.edit.kind in ("configz: nodePortAddresses", "node IP changed")
        and change.frontend.kind is FrontendKind.NODE_PORT
        and change.frontend not in judgement.now.expected.behaviours
    )


SILENCES = (
    Silence(
        name="drop left to kubelet",
        reason="up to 1.24 the drop of a load balancer's other clients, and of outside clients where a Local Service has no "
        "endpoint on the node, is left to a mark that kubelet's rules act upon: dropped or not, both are legal",
        holds=_left_to_kubelet,
    ),
    Silence(
        name="a port that no Service has",
        reason="at an address of a Service another port is refused in one case and passed on in the other: nothing "
        "answers there in either",
        holds=_not_its_port,
    ),
    Silence(
        name="accepted before it is refused",
        reason="a rule of somebody else lets packets to Services without endpoints through before kube-proxy's refuse them: "
        "told as KD209, as info, since network plugins do that to all of their pods' traffic",
        holds=_accepted_by_others,
    ),
    Silence(
        name="somebody else's virtual server",
        reason="a virtual server at an address that kube-proxy never put on kube-ipvs0, nor opened as a NodePort, is "
        "somebody else's (keepalived's, kept by ipvs.excludeCIDRs)",
        holds=_somebody_elses_server,
    ),
    Silence(
        name="NodePort open at more addresses",
        reason="nodePortAddresses, or the Node object, names fewer addresses than the rules serve: NodePorts are open where "
        "nobody asked for them, and open where somebody did",
        holds=_more_addresses_than_asked,
    ),
)


def _none_suffers(judgement: Judgement) -> bool:
    return all(NONE_SUFFERS in item.message for item in judgement.news)


def _address_on_device(judgement: Judgement) -> bool:
    return judgement.edit.kind == "address added" and {item.code for item in judgement.news} == {"KD226"}


WORDS = (
    Word(
        name="told before anybody suffers",
        reason="a jump from a built-in chain, a chain that all Services share, or the masquerade rule is gone or renamed, and "
        "no Service of today needs it: the next one will, and the finding says so",
        holds=_none_suffers,
    ),
    Word(
        name="address that the node took",
        reason="kube-ipvs0 has an address that no Service has (KD226): packets to whoever has it end on this node, which a "
        "walk does not tell from sending them on",
        holds=_address_on_device,
    ),
)


def silence_about(judgement: Judgement, change: Change) -> str | None:
    """The name of the case that makes silence right, None if there is none."""
    return next((item.name for item in SILENCES if item.holds(judgement, change)), None)


def word_without_change(judgement: Judgement) -> str | None:
    """The name of the case that makes findings right although nothing changed."""
    return next((item.name for item in WORDS if item.holds(judgement)), None)
