"""What typer offers after TAB that is not in the program itself: where `kdiag.cli.fast_completion` does not speak the shell's language."""

from __future__ import annotations

import typer

from kdiag.cli import offers


def complete_services(ctx: typer.Context, incomplete: str) -> list[str]:
    """Services."""
    return offers.services(ctx.params, incomplete)


def complete_targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """What `kdiag trace` follows packets to."""
    return offers.targets(ctx.params, incomplete)


def complete_clients(ctx: typer.Context, incomplete: str) -> list[str]:
    """Where packets come from."""
    return offers.clients(ctx.params, incomplete)


def complete_nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Nodes that were not named yet."""
    return offers.nodes(ctx.params, incomplete)


def complete_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Namespaces that have a Service."""
    return offers.namespaces(ctx.params, incomplete)


def complete_contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Contexts of the kubeconfig."""
    return offers.contexts(ctx.params, incomplete)


def complete_codes(incomplete: str) -> list[tuple[str, str]]:
    """Codes of checks with their titles."""
    from kdiag.checks import all_checks

    return offers.codes(incomplete, {check.code: check.title for check in all_checks()})
