from __future__ import annotations

from typing import Any

from kdiag.checks.proxy_mode_mismatch import CHECK
from kdiag.model.addresses import Family
from kdiag.model.host import HostFacts, ProxyLog
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.report import Finding, Severity
from kdiag.model.rules import Backend, Ruleset
from tests.checks.builders import cluster, node, node_view, view

CONFIG_MAP = "ConfigMap kube-system/kube-proxy"
RULES = [Ruleset(family=Family.IPV4, backend=Backend.UNKNOWN, source="nodes/node01/save.txt", tables={})]


def config(mode: str | None, source: str = CONFIG_MAP) -> ProxyConfig:
    known = ProxyMode(mode) if mode in {item.value for item in ProxyMode} else None
    return ProxyConfig(source=source, mode=known, mode_text=mode)


def found(*configs: ProxyConfig, answer: str | None = None, log: str | None = None, **keywords: Any) -> list[Finding]:
    host = HostFacts(
        proxy_mode_answer=answer,
        log=ProxyLog(source="nodes/node01/kube-proxy.log", proxier=log) if log else None,
        sources={"proxy_mode": "nodes/node01/proxyMode.txt"},
    )
    item = node_view(host=host, configs=configs, rulesets=RULES, **keywords)
    return list(CHECK.run(view(cluster(), nodes=[item])))


def test_one_mind_is_silent() -> None:
    assert found(config("iptables"), answer="iptables", log="iptables") == []
    assert found(config("", "configz"), config(""), answer="iptables") == []
    assert found(config(None), answer="iptables") == []
    assert found() == []


def test_a_silent_fall_back() -> None:
    (finding,) = found(config("ipvs"), answer="iptables")
    assert (finding.code, finding.severity, finding.node) == ("KD403", Severity.WARNING, "node01")
    assert (finding.expected, finding.actual) == ("ipvs", "iptables")
    assert "fall back" in finding.message
    assert [item.source for item in finding.evidence] == [
        "cluster/configmaps.json",
        "nodes/node01/proxyMode.txt",
        "nodes/node01/save.txt",
    ]


def test_a_config_map_that_was_changed_later() -> None:
    (finding,) = found(config("iptables", "nodes/node01/configz.json"), config("ipvs"), answer="iptables")
    assert "has not been restarted" in finding.message
    assert finding.expected == "iptables"


def test_rules_of_another_mode() -> None:
    (finding,) = found(config("nftables"), answer="nftables")
    assert "has not written the rules of its mode" in finding.message


def test_the_log_counts_only_without_an_answer() -> None:
    assert found(config("iptables"), answer="iptables", log="ipvs") == []
    (finding,) = found(config("ipvs"), answer="", log="ipvs")
    assert "its log announces: ipvs" in finding.message


def test_an_unknown_mode_is_compared_as_written() -> None:
    (finding,) = found(config("ebpf"), answer="iptables")
    assert finding.expected == "ebpf"
    assert found(config("iptables"), answer="404 page not found") == []


def test_without_configuration() -> None:
    (finding,) = found(answer="ipvs")
    assert (finding.expected, finding.actual) == ("ipvs", "iptables")


def test_a_mode_without_its_text() -> None:
    (finding,) = found(ProxyConfig(source="argv", mode=ProxyMode.IPVS), answer="iptables")
    assert finding.evidence[0].text == "mode: ipvs"


def test_nodes_that_say_nothing_are_left_alone() -> None:
    assert found(config("ipvs"), mode=None) == []
    assert found(config("ipvs"), answer="iptables", other_proxy="Cilium") == []
    assert found(config("ipvs"), answer="iptables", api_node=node(os="windows")) == []
