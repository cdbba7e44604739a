"""Parts of the official client are imported without the rest, which is there when it is asked for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("kubernetes", "oauthlib.oauth2", "pydantic", "requests", "requests_oauthlib", "websocket")


def printed(program: str) -> list[str]:
    """What a program prints in a process of its own, line by line."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_rest_is_not_imported_and_nothing_stands_for_it() -> None:
    program = f"""
import sys
from kdiag.gather.api_client import client_parts
client_parts()
print(*(name for name in {HEAVY} if name in sys.modules))
import kubernetes.client, requests_oauthlib, oauthlib.oauth2
print(kubernetes.client.CoreV1Api.__name__, kubernetes.config.load_kube_config.__name__, kubernetes.client.rest.__name__)
print(requests_oauthlib.OAuth2Session.__name__, oauthlib.oauth2.OAuth2Error.__name__)
"""
    assert printed(program) == [
        "",
        "CoreV1Api load_kube_config kubernetes.client.rest",
        "OAuth2Session OAuth2Error",
    ]


def test_what_a_login_by_openid_connect_takes_is_there() -> None:
    program = """
from kdiag.gather.api_client import client_parts
parts = client_parts()
used = parts.config.kube_config
print(type(used.ApiClient(configuration=parts.configuration.Configuration())).__module__)
print(type(used.OAuth2Session("one")).__module__)
print(issubclass(used.oauthlib.oauth2.rfc6749.errors.InvalidClientIdError, Exception))
"""
    assert printed(program) == ["kubernetes.client.api_client", "requests_oauthlib.oauth2_session", "True"]


def test_a_client_that_is_made_otherwise_is_imported_as_a_whole() -> None:
    program = """
import sys
from kdiag.gather import api_client

def fails(module, name):
    raise TypeError(name)

api_client._put_off = fails
parts = api_client.client_parts()
import kubernetes
print(parts.config is kubernetes.config, parts.rest is kubernetes.client.rest, "pydantic" in sys.modules)
"""
    assert printed(program) == ["True True True"]
