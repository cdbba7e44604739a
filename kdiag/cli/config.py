"""Settings from files and the environment as the defaults of a command's options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from kdiag.cli.formats import REPORT_FORMATS
from kdiag.cli.output_type import OutputType
from kdiag.errors import UsageError
from kdiag.gather.settings_file import read_settings


def configured_defaults(context: click.Context, *, config: Path | None, without_files: bool) -> dict[str, Any]:
    """What click takes for the default of an option (`default_map`), by the name of its parameter.

    Settings of options that this command does not have are left out; `output` is for the commands that judge. Raises
    UsageError, which names file and line, for a value that the option would refuse.
    """
    settings = read_settings(config=config, without_files=without_files, environment=os.environ, directory=Path.cwd())
    parameters = {item.name: item for item in context.command.params if isinstance(item, click.Option)}
    out: dict[str, Any] = {}
    for setting in settings:
        parameter = parameters.get(setting.key)
        if parameter is None or (setting.key == "output" and not _judges(parameter)):
            continue
        value = list(setting.value) if isinstance(setting.value, tuple) else setting.value
        try:
            parameter.type_cast_value(context, value)
        except click.BadParameter as error:
            raise UsageError(f"{setting.origin}: {setting.key}: {error.message.rstrip('.')}") from None
        out[setting.key] = value
    return out


def _judges(parameter: click.Option) -> bool:
    """`-o` is a path for `collect`, and fewer formats for `trace` and `flags`."""
    return isinstance(parameter.type, OutputType) and parameter.type.formats == REPORT_FORMATS
