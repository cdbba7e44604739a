"""Generated rule sets: `table -A …` lines over a few chains, with a few matches and targets each."""

from __future__ import annotations

from hypothesis import strategies as st

MATCHES = st.sampled_from(
    [
        "",
        "-s 10.244.1.76/32",
        "-s 10.244.1.64/28",
        "! -s 10.244.1.0/25",
        "-d 10.96.0.10/32",
        "-d 10.96.0.11/32",
        "! -d 10.96.0.11/32",
        "-d 10.96.0.0/12",
        "-d 10.96.0.10,10.96.0.11",
        "-i cni0",
        "! -i eth+",
        "-p tcp",
        "-p udp",
        "! -p tcp",
        "-p tcp -m tcp --dport 80",
        "-p tcp -m tcp --dport 81",
        "-p tcp -m tcp --dport 80 -d 10.96.0.10/32",
        "-p tcp -m tcp --dport 0x50",
        "-p tcp -m tcp --dport http",
        "-p tcp -m tcp --dport what",
        "-p tcp -m tcp ! --dport 81",
        "-p tcp -m tcp --dport 79:81",
        "-p tcp -m multiport --dports 80,443",
        "-p udp -m udp --dport 80",
        "-m mark --mark 0x1/0x1",
        "-m mark ! --mark 0x2/0x2",
        "-m statistic --mode random --probability 0.25",
        "-m statistic --mode random --probability 0.33333333349",
        "-m conntrack --ctstate NEW",
        "-m conntrack --ctstate DNAT",
        "-m addrtype --dst-type LOCAL",
        "-m limit --limit 3/s",
        "-m recent --rcheck --seconds 9 --name A --rsource",
    ]
)
COMMON = [
    "ACCEPT",
    "RETURN",
    "MARK --set-xmark 0x1/0x1",
    "MARK --xor-mark 0x3",
    "LOG",
    "NFQUEUE",
    "CONNMARK --save-mark",
]
TARGETS = {
    "mangle": [*COMMON, "DROP", "U", "V", "GONE"],
    "nat": [
        *COMMON,
        "DNAT --to-destination 10.244.1.5:8080",
        "DNAT --to-destination 10.244.2.6:80",
        "DNAT --to-destination 192.168.56.11",
        "REDIRECT --to-ports 81",
        "U",
        "V",
    ],
    "filter": [*COMMON, "DROP", "REJECT", "U", "V"],
}
CHAINS = {"mangle": "PREROUTING", "nat": "PREROUTING", "filter": "FORWARD"}


@st.composite
def rules(draw: st.DrawFn, table: str, chain: str, *, most: int = 12) -> list[str]:
    """Rules of one chain. Jumps go to U and V only, and from V nowhere, so that none leads back."""
    allowed = [
        target
        for target in TARGETS[table]
        if not (target == "U" and chain in "UV") and not (target == "V" and chain == "V")
    ]
    found = []
    for _ in range(draw(st.integers(0, most))):
        target = draw(st.sampled_from(allowed))
        how = "-g" if target in "UV" and draw(st.booleans()) else "-j"
        found.append(f"{table} -A {chain} {draw(MATCHES)} {how} {target}".replace("  ", " "))
    return found


@st.composite
def chains(draw: st.DrawFn) -> dict[tuple[str, str], list[str]]:
    """Rules by table and chain."""
    found = {}
    for table, hook in CHAINS.items():
        for chain in (hook, "U", "V"):
            found[table, chain] = draw(rules(table, chain, most=6))
    return found


def lines(by_chain: dict[tuple[str, str], list[str]]) -> str:
    """One text; every chain is declared, so that an empty one is known too."""
    declared = [f"{table} :{chain} -" for table, chain in by_chain if chain in "UV"]
    return "\n".join([*declared, *(line for part in by_chain.values() for line in part)])
