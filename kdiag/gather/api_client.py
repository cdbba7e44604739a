"""The parts of the official client that kdiag uses: what reads a kubeconfig and logs in, and what opens connections.

`import kubernetes` also imports what makes objects of all kinds, dynamic clients, websockets and OAuth: that takes as long again. So
these parts are imported without the rest, which is imported when a login asks for it. A release of the client that is not made
like this is imported as a whole.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, NamedTuple

_ROOT, _CLIENT = "kubernetes", "kubernetes.client"
_OAUTH, _OAUTH_SESSION = "oauthlib.oauth2", "requests_oauthlib"


class ClientParts(NamedTuple):
    """Modules of the client, which may be others than those that `import kubernetes` gives: `kubernetes.config`,
    `kubernetes.client.configuration` and `kubernetes.client.rest`."""

    config: Any
    configuration: Any
    rest: Any


@cache
def client_parts() -> ClientParts:
    """The parts of the client, imported once."""
    if _ROOT not in sys.modules:
        before = set(sys.modules)
        try:
            return _without_the_rest()
        except Exception:  # whatever it is that another release does
            pass
        finally:
            # Nobody else must find what is not whole.
            for name in set(sys.modules) - before:
                if name in (_OAUTH, _OAUTH_SESSION) or name.partition(".")[0] == _ROOT:
                    del sys.modules[name]
    return _parts()


def _parts() -> ClientParts:
    names = "kubernetes.config", "kubernetes.client.configuration", "kubernetes.client.rest"
    return ClientParts(*map(import_module, names))


def _without_the_rest() -> ClientParts:
    client: Any
    for name in (_ROOT, _CLIENT):
        spec = find_spec(name)
        if spec is None:
            raise ImportError(name)
        # It has a path, so that modules in it are found, but is not run.
        client = sys.modules[name] = module_from_spec(spec)
    client.Configuration = import_module("kubernetes.client.configuration").Configuration
    client.ApiClient = _put_off(_CLIENT, "ApiClient")
    session: Any = ModuleType(_OAUTH_SESSION)
    session.OAuth2Session = _put_off(_OAUTH_SESSION, "OAuth2Session")
    sys.modules.setdefault(_OAUTH_SESSION, session)
    oauth: Any = import_module("oauthlib")
    oauth.oauth2 = sys.modules.setdefault(_OAUTH, _Unread(_OAUTH))
    return _parts()


def _put_off(module: str, name: str) -> Callable[..., Any]:
    """Calls something in a module that is imported for it."""
    return lambda *given, **by_name: getattr(import_module(module), name)(*given, **by_name)


class _Unread(ModuleType):
    """Stands for a module until something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)
