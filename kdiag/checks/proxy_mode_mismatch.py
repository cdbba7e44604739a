"""KD403: what kube-proxy is told to do, says it does, and does are not the same mode."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kdiag.checks.evidence import from_host, from_statement
from kdiag.checks.interface import Check
from kdiag.model.cluster import ClusterState
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import NodeView, View


class ModeStatement(Struct, frozen=True, kw_only=True):
    """Somebody says which mode a node's kube-proxy is in."""

    who: str
    mode: str
    evidence: tuple[Evidence, ...]


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        statements = mode_statements(view.cluster, node)
        if len({statement.mode for statement in statements}) > 1:
            yield _finding(node, statements)


def mode_statements(state: ClusterState, node: NodeView) -> tuple[ModeStatement, ...]:
    """What is known of the mode of a Linux node: configuration, answer, log, rules, in this order."""
    if node.other_proxy is not None or (node.node is not None and node.node.os != "linux"):
        return ()
    out: list[ModeStatement] = []
    for config in node.configs:
        mode = _configured(config)
        if mode is not None:
            text = f'mode: "{config.mode_text}"' if config.mode_text is not None else f"mode: {mode}"
            out.append(
                ModeStatement(
                    who=f"configured ({config.source})",
                    mode=mode,
                    evidence=from_statement(state, config.source, text),
                )
            )
    answer = node.host.proxy_mode_answer
    if answer and answer in {mode.value for mode in ProxyMode}:
        out.append(
            ModeStatement(who="kube-proxy answers", mode=answer, evidence=from_host(node, "proxy_mode", answer, line=1))
        )
    elif node.host.log is not None and node.host.log.proxier is not None:
        # Only where kube-proxy cannot be asked: a log may be older than the process.
        out.append(
            ModeStatement(
                who="its log announces",
                mode=node.host.log.proxier,
                evidence=(Evidence(source=node.host.log.source, text=f"Using {node.host.log.proxier} Proxier"),),
            )
        )
    if node.mode is not None:
        out.append(
            ModeStatement(
                who="the rules show",
                mode=node.mode.value,
                evidence=tuple(Evidence(source=item.source, text=f"{node.mode} rules") for item in node.rulesets[:1]),
            )
        )
    return tuple(out)


def _configured(config: ProxyConfig) -> str | None:
    """The mode that a configuration asks for. An empty mode is iptables on Linux, an absent one says nothing."""
    if config.mode is not None:
        return config.mode.value
    if config.mode_text is None:
        return None
    return config.mode_text or ProxyMode.IPTABLES.value


def _finding(node: NodeView, statements: tuple[ModeStatement, ...]) -> Finding:
    configured = [statement for statement in statements if statement.who.startswith("configured")]
    running = [statement for statement in statements if not statement.who.startswith("configured")]
    wanted = configured[0].mode if configured else statements[0].mode
    said = "; ".join(f"{statement.who}: {statement.mode}" for statement in statements)
    modes_running = {statement.mode for statement in running}
    if len({statement.mode for statement in configured}) > 1 and len(modes_running | {wanted}) == 1:
        why = "kube-proxy has not been restarted since the ConfigMap or file was changed, or does not read it."
    elif len(modes_running) > 1:
        why = (
            "kube-proxy has not written the rules of its mode (or these rules are left from the mode before): "
            "look at its log."
        )
    else:
        why = (
            "Releases up to 1.25 fall back to iptables without a word in the configuration if the kernel lacks what the "
            "mode needs; else kube-proxy was not restarted after the change."
        )
    return CHECK.finding(
        node=node.name,
        expected=wanted,
        actual=", ".join(sorted({statement.mode for statement in statements} - {wanted})),
        message=f"The proxy mode of {node.name} is not the same everywhere: {said}. {why}",
        evidence=tuple(line for statement in statements for line in statement.evidence),
    )


CHECK = Check(
    code="KD403",
    slug="proxy-mode-mismatch",
    title="kube-proxy is not in the mode that it is configured for",
    severity=Severity.WARNING,
    explanation="""\
The mode stands in four places: kube-proxy's configuration (ConfigMap, file, flags, `/configz`), its answer at
`/proxyMode`, the start lines of its log, and the rules of the node. On this node they do not agree.

**What it does to traffic.** By itself nothing, while the rules are complete. Rules that an earlier mode left behind can
catch traffic, and a node in another mode behaves differently (IPVS: node ports and Local policies; nftables: node ports on
the primary address only).

**How it is found.** By comparing these places. An empty mode is iptables on Linux. The log counts only where `/proxyMode`
was not asked or did not answer, and of the log only the last start.

**What is left alone.** Places that say nothing. Nodes where another program replaces kube-proxy. Windows nodes.
""",
    hint=(
        "Compare kubectl -n kube-system get configmap kube-proxy -o yaml with curl 127.0.0.1:10249/proxyMode on the node; "
        "restart kube-proxy there if they differ."
    ),
    run=run,
    needs_nodes=True,
)
