"""Finding the API server and logging in to it; and that no message ever holds a secret."""

from __future__ import annotations

import base64
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdiag.errors import ClusterError
from kdiag.gather import api_connection
from kdiag.gather.api_connection import Answer, ApiConnection, connect
from tests.corpus_fixtures import cluster
from tests.live.api_double import TOKEN, ApiDouble
from tests.live.certificates import Authority
from tests.live.fixtures import DoubleFactory

SECRET = "zq-very-secret-zq"


def message_of(action: Callable[[], object]) -> str:
    """The message of the ClusterError that the action raises, which holds no secret; neither does its traceback."""
    with pytest.raises(ClusterError) as caught:
        action()
    told = "".join(traceback.format_exception(caught.value))
    for secret in (SECRET, TOKEN):
        assert secret not in told
    return caught.value.message


def kubeconfig(path: Path, *, user: dict[str, Any] | None = None, **overrides: Any) -> Path:
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "prod", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "admin", "user": user or {"token": SECRET}}],
        "contexts": [{"name": "one", "context": {"cluster": "prod", "user": "admin"}}],
    }
    path.write_text(yaml.safe_dump({**content, **overrides}))
    return path


@pytest.mark.usefixtures("bare_environment")
class TestKubeconfig:
    def test_named(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        connection = connect(server.kubeconfig(tmp_path / "somewhere"))
        assert connection.cluster == "recorded"
        assert connection.server == server.url
        answer = connection.get("/version")
        assert answer.status == 200
        assert b"v1.36.2" in answer.body
        assert connection.get("/nothing").status == 404

    def test_from_the_environment(self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = double()
        first = kubeconfig(tmp_path / "first", users=[])
        second = server.kubeconfig(tmp_path / "second")
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}{os.pathsep}{second}{os.pathsep}{first}")
        assert connect().cluster == "recorded"
        # Of several files the first that names a context counts, as with kubectl.
        monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{second}")
        assert connect().cluster == "prod"
        assert connect(context="admin@recorded").get("/version").status == 200

    def test_from_the_home_directory(self, double: DoubleFactory, tmp_path: Path) -> None:
        (tmp_path / ".kube").mkdir()
        double().kubeconfig(tmp_path / ".kube" / "config")
        assert connect().get("/version").status == 200

    def test_none(self, tmp_path: Path) -> None:
        assert message_of(connect) == "there is no cluster to look at: ~/.kube/config does not exist"
        missing = tmp_path / "missing"
        assert message_of(lambda: connect(missing)) == f"there is no cluster to look at: {missing} does not exist"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "is empty or no kubeconfig at all"),
            ("- a\n", "is empty or no kubeconfig at all"),
            (f"users: [\ntoken: {SECRET}: }}", "is not valid YAML in line 2"),
            ("\x00", "is not valid YAML"),
            ("[" * 5000, "is not valid YAML"),
            ("{}", "has no current context"),
            ("contexts: 3\ncurrent-context: x\n", "has no context 'x'"),
        ],
    )
    def test_damaged(self, tmp_path: Path, text: str, reason: str) -> None:
        path = tmp_path / "config"
        path.write_text(text)
        assert reason in message_of(lambda: connect(path))

    def test_unreadable(self, tmp_path: Path) -> None:
        assert f"cannot read kubeconfig {tmp_path}" in message_of(lambda: connect(tmp_path))

    def test_unknown_context(self, tmp_path: Path) -> None:
        path = kubeconfig(tmp_path / "config")
        with pytest.raises(ClusterError, match="has no context 'onee'") as caught:
            connect(path, "onee")
        assert caught.value.hint == "did you mean one?"
        with pytest.raises(ClusterError) as caught:
            connect(path, "quite-another")
        assert caught.value.hint == "it has one"

    @pytest.mark.parametrize(
        "overrides",
        [
            {"clusters": []},
            {"clusters": [{"name": "prod"}]},
            {"clusters": [{"name": "prod", "cluster": {}}]},
            {"clusters": [{"name": "prod", "cluster": {"server": "https://[::1"}}]},
            {"clusters": [{"name": "prod", "cluster": {"server": "https://x", "certificate-authority": "/no/such"}}]},
            {"users": [{"name": "admin", "user": {"exec": {"command": SECRET}}}]},
            {"users": [{"user": {"token": SECRET}}]},
            {"users": {"admin": {"token": SECRET}}},
            {"users": [{"name": "admin", "user": {"client-certificate-data": SECRET, "client-key-data": SECRET}}]},
        ],
    )
    def test_incomplete(self, tmp_path: Path, overrides: dict[str, Any]) -> None:
        path = kubeconfig(tmp_path / "config", **overrides)
        message = message_of(lambda: connect(path).get("/version"))
        assert str(path) in message or "TLS to the API server" in message or "is no URL" in message

    def test_a_user_without_credentials_is_for_the_server_to_judge(self, double: DoubleFactory, tmp_path: Path) -> None:
        assert connect(double().kubeconfig(tmp_path / "config", user={})).get("/version").status == 401


@pytest.mark.usefixtures("bare_environment")
class TestCredentialPlugin:
    def plugin(self, tmp_path: Path, script: str) -> dict[str, Any]:
        path = tmp_path / "plugin"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "args": []}}

    def credential(self, token: str, **status: str) -> str:
        words = "".join(f', "{key}": "{value}"' for key, value in status.items())
        return (
            'echo \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
            f'"status": {{"token": "{token}"{words}}}}}\''
        )

    def test_its_token_is_used(self, double: DoubleFactory, tmp_path: Path) -> None:
        user = self.plugin(tmp_path, self.credential(TOKEN))
        assert connect(double().kubeconfig(tmp_path / "config", user=user)).get("/version").status == 200

    def test_a_token_that_has_expired_is_renewed(self, double: DoubleFactory, tmp_path: Path) -> None:
        script = f"echo x >>{tmp_path}/runs\n" + self.credential(TOKEN, expirationTimestamp="2001-01-01T00:00:00Z")
        connection = connect(double().kubeconfig(tmp_path / "config", user=self.plugin(tmp_path, script)))
        assert connection.get("/version").status == 200
        assert len((tmp_path / "runs").read_text().split()) > 1

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (f"echo 'log in first, token: {SECRET}' >&2; exit 3", "process returned 3"),
            (f"echo {SECRET}", "failed to decode process output"),
            ("echo '{}'", "missing key"),
        ],
    )
    def test_it_fails(self, tmp_path: Path, script: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
        path = kubeconfig(tmp_path / "config", user=self.plugin(tmp_path, script))
        message = message_of(lambda: connect(path))
        assert message.startswith(f"no credentials could be had from kubeconfig {path}: ")
        assert reason in message
        assert capfd.readouterr().err == ""

    def test_it_is_missing(self, tmp_path: Path) -> None:
        user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(tmp_path / "gone")}}
        path = kubeconfig(tmp_path / "config", user=user)
        assert "No such file or directory" in message_of(lambda: connect(path))

    def test_it_fails_when_the_token_is_renewed(self, double: DoubleFactory, tmp_path: Path) -> None:
        script = f"test -e {tmp_path}/ran && exit 9; touch {tmp_path}/ran\n" + self.credential(
            TOKEN, expirationTimestamp="2001-01-01T00:00:00Z"
        )
        connection = connect(double().kubeconfig(tmp_path / "config", user=self.plugin(tmp_path, script)))
        assert "process returned 9" in message_of(lambda: connection.get("/version"))


@pytest.mark.usefixtures("bare_environment")
class TestInCluster:
    def test_it_is_used_when_there_is_nothing_else(
        self, double: DoubleFactory, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from kubernetes.config import incluster_config

        server = double()
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
        host, _, port_number = server.url.removeprefix("https://").rpartition(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port_number)
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
        server.tokens.add(f"bearer {TOKEN}")  # RFC 6750: the scheme's name is not case-sensitive
        connection = connect()
        assert connection.cluster == "in-cluster"
        assert connection.get("/version").status == 200

    def test_without_a_service_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        assert "the in-cluster configuration cannot be used" in message_of(connect)


@pytest.mark.usefixtures("bare_environment")
class TestNoAnswer:
    def get(self, path: Path) -> str:
        return message_of(lambda: connect(path).get("/version"))

    def test_refused(self, tmp_path: Path) -> None:
        message = self.get(kubeconfig(tmp_path / "config"))
        assert message == "cannot connect to the API server https://127.0.0.1:1: Connection refused"

    def test_a_name_that_does_not_exist(self, tmp_path: Path) -> None:
        clusters = [{"name": "prod", "cluster": {"server": "https://no-such-name.invalid:6443"}}]
        message = self.get(kubeconfig(tmp_path / "config", clusters=clusters))
        assert "the name of the API server https://no-such-name.invalid:6443 cannot be resolved" in message

    @pytest.mark.parametrize("server", ["nonsense", "https://127.0.0.1:99999999"])
    def test_no_url(self, tmp_path: Path, server: str) -> None:
        clusters = [{"name": "prod", "cluster": {"server": server}}]
        assert "is no URL of an API server" in self.get(kubeconfig(tmp_path / "config", clusters=clusters))

    def test_connect_time_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_connection, "CONNECT_S", 0.2)
        with socket.socket() as listener:  # a backlog that is full makes connecting wait
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            waiting = []
            for _ in range(3):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
                waiting.append(client)
            clusters = [{"name": "prod", "cluster": {"server": f"https://127.0.0.1:{listener.getsockname()[1]}"}}]
            message = self.get(kubeconfig(tmp_path / "config", clusters=clusters))
            for client in waiting:
                client.close()
        assert "did not answer within" in message

    def test_a_proxy_that_is_not_there(self, tmp_path: Path) -> None:
        clusters = [{"name": "prod", "cluster": {"server": "https://127.0.0.1:1", "proxy-url": "http://127.0.0.1:2"}}]
        message = self.get(kubeconfig(tmp_path / "config", clusters=clusters))
        assert "the proxy on the way to the API server" in message

    def test_another_authority(self, double: DoubleFactory, tmp_path: Path) -> None:
        path = double().kubeconfig(tmp_path / "config")
        content = yaml.safe_load(path.read_text())
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other").certificate_pem
        content["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(other).decode()
        path.write_text(yaml.safe_dump(content))
        assert "is not trusted: " in self.get(path)

    def test_certificate_of_another_address(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path, address="192.0.2.1")
        with ApiDouble(cluster("v1.36.2-iptables-nft"), authority=authority) as server:
            message = self.get(server.kubeconfig(tmp_path / "config"))
        assert "IP address mismatch" in message

    def test_certificate_that_has_expired(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path, days=-1)
        with ApiDouble(cluster("v1.36.2-iptables-nft"), authority=authority) as server:
            message = self.get(server.kubeconfig(tmp_path / "config"))
        assert "certificate has expired" in message

    def test_http_where_https_is_asked_for(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double(authority=None)
        path = server.kubeconfig(tmp_path / "config", server=server.url.replace("http:", "https:"))
        assert "does not speak TLS" in self.get(path)

    def test_https_where_http_is_asked_for(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        path = server.kubeconfig(tmp_path / "config", server=server.url.replace("https:", "http:"))
        assert "broke: " in self.get(path)

    def test_a_server_that_was_reached_is_asked_again(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_connection, "_PAUSE_S", 0.01)
        server = double()
        connection = connect(server.kubeconfig(tmp_path / "config"))
        connection.get("/version")
        server.trouble.cut["/api/v1/pods"] = 2
        assert isinstance(connection.get("/api/v1/pods"), Answer)
        assert server.reads["/api/v1/pods"] == 3


def test_a_failure_in_words_for_everything_that_tls_says() -> None:
    def told(text: str) -> str:
        return api_connection._tls_failure(OSError(1, text), "https://x").message

    assert "refused the TLS connection" in told("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert (_ssl.c:1)")
    assert "is for another name" in told("hostname 'a' doesn't match 'b'")
    assert told("something else") == "TLS to the API server https://x failed: something else"
    assert isinstance(ApiConnection, type)
