"""Which of a node's own addresses its rules tell apart.

Packets to a NodePort may be sent to each of them. No route is asked for any, and most rules only ask whether an address is
one of the node's. So what happens to packets to one of them happens to packets to the others, by the same rules, unless a
rule names some and not all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.matches import OF_DESTINATIONS
from kdiag.walk.program import Space


def alike_among(own: Collection[int], spaces: Iterable[Space]) -> Mapping[int, tuple[int, ...]]:
    """What the rules of these spaces tell of each of the node's own addresses, as destinations: the same of those that are alike.

    Empty if rules may ask for more than what is read here. Rules that leave packets the address that they have are not
    looked for: who takes one address for another has to see that none of the two is in what comes out.
    """
    told: dict[int, list[int]] = {address: [] for address in own}
    number = 0
    for space in spaces:
        if not isinstance(space, IptablesSpace):
            return {}
        for table in space.ruleset.tables.values():
            for chain in table.chains.values():
                for rule in chain.rules:
                    for option in rule.matches:
                        if (option.module, option.name) in OF_DESTINATIONS:
                            return {}
                    for network in rule.destination.networks if rule.destination is not None else ():
                        low, high = int(network.network_address), int(network.broadcast_address)
                        number += 1
                        for address, found in told.items():
                            if low <= address <= high:
                                found.append(number)
    return {address: tuple(found) for address, found in told.items()}
