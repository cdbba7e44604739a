"""The files that are written out of the program: `python -m kdiag.cli.docs` writes them, `--check` only compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from kdiag.checks import all_checks
from kdiag.checks.examples import example_of
from kdiag.cli import pages
from kdiag.cli.app import COMMAND, built_command
from kdiag.cli.commands import PROGRAM, SLUGS, all_commands
from kdiag.cli.completion_table import completion_tables
from kdiag.cli.man import man_pages
from kdiag.render.diff_document import DIFF_DOCUMENTS
from kdiag.render.json import DOCUMENTS, schema_text
from kdiag.render.reference import checks_markdown

_COMPLETIONS = (("bash", "kdiag.bash"), ("zsh", "_kdiag"), ("fish", "kdiag.fish"))
"""Shell and file name: what packages put into /usr/share/bash-completion and its like."""


def generated_files() -> Mapping[str, str]:
    """The text of every generated file, by its path in the project."""
    files = {
        "docs/checks.md": checks_markdown(all_checks(), {check.code: example_of(check.code) for check in all_checks()}),
        "docs/cli.md": cli_markdown(),
    }
    for name, table in completion_tables(COMMAND).items():
        files[f"kdiag/cli/words/{name}.json"] = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    for slug, document_type in (*DOCUMENTS, *DIFF_DOCUMENTS):
        files[f"docs/{slug}.schema.json"] = schema_text(slug, document_type)
    files.update(man_pages())
    for shell, file_name in _COMPLETIONS:
        files[f"completions/{file_name}"] = _completion_script(shell)
    files.update({f"kdiag/cli/pages/{path}": text for path, text in _pages().items()})
    return files


def _pages() -> dict[str, str]:
    """Help pages, for `kdiag.cli.pages`."""
    files: dict[str, str] = {}
    root = click.Context(COMMAND, info_name=PROGRAM, **COMMAND.context_settings)
    contexts = {pages.ROOT: root}
    contexts |= {slug: click.Context(built_command(slug), info_name=slug, parent=root) for slug in SLUGS}
    for name, context in contexts.items():
        for columns in pages.COLUMNS:
            context.terminal_width = columns - 2  # as click leaves two columns free
            files[pages.page_path(columns, name)] = context.get_help() + "\n"
    return files


def cli_markdown() -> str:
    """The text of docs/cli.md."""
    lines = [
        "# Command line",
        "",
        "<!-- Written by `make docs` out of kdiag/cli; changes belong there. -->",
    ]
    for command in all_commands():
        described = built_command(command.slug)
        lines.extend(["", f"## {PROGRAM} {command.slug}", "", command.summary])
        for paragraph in command.details.split("\n\n"):
            lines.extend(["", paragraph])
        context = click.Context(described, info_name=command.slug, help_option_names=["-h", "--help"])
        usage = " ".join(described.collect_usage_pieces(context))
        lines.extend(["", "```", f"{PROGRAM} {command.slug} {usage}", "```", ""])
        lines.extend(_parameters(described, context))
        if command.examples:
            lines.extend(["", "```console"])
            lines.extend(f"$ {PROGRAM} {line:<56} # {does}" for line, does in command.examples)
            lines.append("```")
    return "\n".join(lines) + "\n"


def _completion_script(shell: str) -> str:
    completion = get_completion_class(shell)
    if completion is None:
        raise ValueError(f"click cannot complete in {shell}")
    script: str = completion(COMMAND, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source()
    if shell == "bash":
        # Bash offers files where nothing else is found, also for the name of a node.
        script = script.replace("    return 0\n", "    [ $? -eq 1 ] && compopt +o default 2>/dev/null\n    return 0\n")
    return script.strip() + "\n"


def _parameters(command: click.Command, context: click.Context) -> Iterator[str]:
    yield "| | | default |"
    yield "|---|---|---|"
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            # Short before long, and never in click's order: that of -h and --help is the order of a set.
            words = [f"`{word}`" for word in sorted(parameter.opts, key=lambda word: (len(word), word))]
            if not (parameter.is_flag or parameter.count):
                words[-1] = f"{words[-1][:-1]} {parameter.make_metavar(context)}`"
            text = parameter.help or ""
            default = (
                ""
                if parameter.is_flag or parameter.count or parameter.default is None
                else f"`{_plain(parameter.default)}`"
            )
        else:
            words, text, default = [f"`{parameter.metavar}`"], getattr(parameter, "help", "") or "", ""
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (", ".join(words), text, default)) + " |"


def _plain(default: object) -> str:
    return str(getattr(default, "value", default))


def main(arguments: list[str]) -> int:
    """Writes the files into the project in the working directory; with `--check` lists those that are out of date."""
    root = Path.cwd()
    if not (root / "pyproject.toml").is_file():
        print("error: this is not the project's directory", file=sys.stderr)
        return 2
    stale = [
        path
        for path, text in generated_files().items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"error: {path} is out of date: run make docs", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(generated_files()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
