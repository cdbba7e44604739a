"""Runs the command line. The only place that turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import sys

import click

from kdiag.cli import log
from kdiag.cli.app import COMMAND, PROGRAM, SLUGS, built_command
from kdiag.cli.output import forget_stdout
from kdiag.errors import KdiagError

EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

_BUG_HINT = (
    "this is a bug in kdiag: run it again with --debug and report what it prints; a snapshot that shows it "
    "(as an archive: tar czf snapshot.tar.gz DIRECTORY) makes it easy to repair"
)


def run(arguments: list[str], *, program: str = PROGRAM) -> int:
    """Runs `kdiag` with these arguments and returns the exit code. `program` is its name in usage texts.

    0 nothing found, 1 findings, 2 usage or configuration, 3 incomplete evidence, 70 a bug, 130 interrupted.
    """
    _write_anything()
    debug = "--debug" in arguments
    try:
        outcome = COMMAND.main(args=arguments, prog_name=program, standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except KdiagError as error:
        return _fail(error.message, error.hint, error.exit_code, debug=debug)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.message, file=sys.stderr)
        return EXIT_USAGE
    except click.NoSuchOption as error:
        return _fail(f"there is no option {error.option_name}", _option_hint(error), EXIT_USAGE, debug=debug)
    except click.UsageError as error:
        return _fail(_sentence(error.format_message()), _help_hint(error), EXIT_USAGE, debug=debug)
    except click.ClickException as error:
        return _fail(_sentence(error.format_message()), "", EXIT_USAGE, debug=debug)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        forget_stdout()
        return 0
    except Exception as error:
        return _fail(f"kdiag failed: {type(error).__name__}: {error}", _BUG_HINT, EXIT_BUG, debug=debug)
    finally:
        log.turn_off()


def _fail(message: str, hint: str, exit_code: int, *, debug: bool) -> int:
    from kdiag.render.layout import visible

    with contextlib.suppress(BrokenPipeError):
        if debug:
            import traceback

            traceback.print_exc()
        print(f"error: {visible(message)}", file=sys.stderr)
        if hint:
            print(f"hint: {visible(hint)}", file=sys.stderr)
    return exit_code


def _sentence(message: str) -> str:
    """click's message in the form of kdiag's: no capital, no full stop, and on one line."""
    text = " ".join(message.split())
    if text[:2].istitle():
        text = text[0].lower() + text[1:]
    return text.rstrip(".")


def _help_hint(error: click.UsageError) -> str:
    return f"see '{PROGRAM if error.ctx is None else error.ctx.command_path} --help'"


def _option_hint(error: click.NoSuchOption) -> str:
    if error.ctx is None:
        return _help_hint(error)
    from kdiag.model.lookup import did_you_mean

    if isinstance(error.ctx.command, click.Group) and any(
        error.option_name in parameter.opts for slug in SLUGS for parameter in built_command(slug).params
    ):
        return f"it belongs behind the command, as in '{error.ctx.command_path} preflight {error.option_name}'"
    known = [option for parameter in error.ctx.command.get_params(error.ctx) for option in parameter.opts]
    return did_you_mean(error.option_name, [option for option in known if option.startswith("--")]) or _help_hint(error)


def _write_anything() -> None:
    """Makes output possible in every locale: what the encoding lacks is escaped rather than a reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
