"""What must not leave a cluster is blotted out, all else stays as it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.gather.redact import redact
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster

KEY = """-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED

MIIEowIBAAKCAQEAx+/abc
deadBEEF==
-----END RSA PRIVATE KEY-----
"""
KUBECONFIG = "apiVersion: v1\nkind: Config\nusers:\n- name: default\n  user:\n    tokenFile: /var/run/x\n"
WEB_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl-_x"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (KEY, "deadBEEF"),
        (KEY.replace("RSA ", ""), "MIIEow"),
        (KEY.replace("-----END RSA PRIVATE KEY-----", ""), "deadBEEF"),
        (json.dumps({"data": {"tls.key": KEY}}), "deadBEEF"),
        (json.dumps({"outer": json.dumps({"tls.key": KEY})}), "deadBEEF"),
        (json.dumps({"kubeconfig.conf": KUBECONFIG}), "users"),
        (json.dumps({"admin.kubeconfig": KUBECONFIG}, separators=(",", ":")), "users"),
        (f"Authorization: Bearer {WEB_TOKEN}", "c2lnbmF0"),
        (f"argument {WEB_TOKEN} alone", "eyJpc3"),
        ("authorization: bearer abcdef0123456789", "abcdef0123456789"),
        ("kubelet --bootstrap-kubeconfig=/a --token=abcdef.0123456789abcdef", "0123456789"),
        ("    client-key-data: LS0tLS1CRUdJTg==\n", "LS0tLS1"),
        ('"password": "hunter2-hunter2"', "hunter2"),
        (json.dumps({"x": json.dumps({"password": "hunter2-hunter2"})}), "hunter2"),
        (json.dumps({"x": "users:\n- user:\n    password: hunter2-hunter2\n"}), "hunter2"),
        ("client-secret=abcdefghijk", "abcdefghijk"),
        ('{"name": "DB_PASSWORD", "value": "x"}', '"x"'),
        ('{"name":"AWS_SECRET_ACCESS_KEY","value":"a\\"b"}', "b"),
    ],
)
def test_a_secret_is_blotted_out(text: str, secret: str) -> None:
    assert secret in text
    out = redact(text.encode()).decode()
    assert secret not in out.replace("REDACTED", "").replace("_KEY", "")
    assert "REDACTED" in out
    assert out.count("\n") == text.count("\n")
    assert redact(out.encode()).decode() == out


@pytest.mark.parametrize(
    "text",
    [
        '-A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment "default/token:https-alt cluster IP" -j KUBE-SVC-A',
        '-A KUBE-SVC-A -m comment --comment "default/password:database -> 10.0.0.1:80" -j KUBE-SEP-A',
        '"image": "registry.example/token:v1.30.3-build"',
        '"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"',
        "kubelet --kubeconfig=/etc/kubernetes/kubelet.conf --authentication-token-webhook=true",
        "kube-apiserver --service-account-private-key-file=/etc/kubernetes/pki/sa.key",
        '"automountServiceAccountToken": false',
        '"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"',
        '{"name": "MODE", "value": "production"}',
        "-----BEGIN CERTIFICATE-----\nMIIDCzCCAfOg\n-----END CERTIFICATE-----",
        '"f:token": {}',
    ],
)
def test_what_only_sounds_like_a_secret_stays(text: str) -> None:
    assert redact(text.encode()) == text.encode()


def test_text_after_a_private_key_stays() -> None:
    assert redact(f"before\n{KEY}after: 1\n".encode()).split() == [b"before", b"REDACTED", b"after:", b"1"]


@pytest.mark.parametrize("name", HEALTHY_IPTABLES)
def test_of_a_real_cluster_only_the_kubeconfig_goes(name: str) -> None:
    snapshot = cluster(name)
    recordings = [*snapshot.api.values(), *(item for probes in snapshot.nodes.values() for item in probes.values())]
    changed = [item for item in recordings if redact(item.content) != item.content]
    assert [item.source for item in changed] == ["cluster/kube-system-configmaps.json"]
    before, after = (json.loads(content) for content in (changed[0].content, redact(changed[0].content)))
    for left, right in zip(before["items"], after["items"], strict=True):
        for key, value in (left.get("data") or {}).items():
            assert right["data"][key] == ("REDACTED" if key == "kubeconfig.conf" else value)


@given(st.binary(max_size=400))
def test_it_is_its_own_closure_and_keeps_lines(content: bytes) -> None:
    once = redact(b"password: " + content + b' "token":"' + content)
    assert redact(once) == once
    assert once.count(b"\n") == 2 * content.count(b"\n")
