"""Which Service port a rule of a dispatch chain once belonged to that nobody expects."""

from __future__ import annotations

from collections.abc import Mapping

from kdiag.model.addresses import Protocol
from kdiag.model.dataplane import Behaviour, Frontend, ServicePortKey
from kdiag.model.objects import ObjectKey
from kdiag.model.rules import Rule
from kdiag.parse.chain_names import ChainIndex, service_port_of_comment


def owners_of(
    rules: Mapping[Frontend, Rule], expected: Mapping[Frontend, Behaviour]
) -> dict[Frontend, ServicePortKey | None]:
    """The Service port that each rule names in its comment; of one without, that whose chain it jumps to; else None.

    The chain tells as long as the Service port still exists, and so is among those of `expected`.
    """
    chains = ChainIndex(item.service_port for item in expected.values() if item.service_port is not None)
    return {
        frontend: _named_in_comment(rule, frontend.protocol) or chains.service_port(rule.target or "")
        for frontend, rule in rules.items()
    }


def _named_in_comment(rule: Rule, protocol: Protocol) -> ServicePortKey | None:
    """The Service port that the rule's comment names."""
    text = service_port_of_comment(rule.comment or "")
    if not text:
        return None
    service_text, _, port_name = text.partition(":")
    namespace, slash, service_name = service_text.partition("/")
    if not slash:
        return None
    return ServicePortKey(
        service=ObjectKey(namespace=namespace, name=service_name), port_name=port_name, protocol=protocol
    )
