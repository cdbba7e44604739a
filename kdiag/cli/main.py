"""Runs the command line. The only place that turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import sys

from kdiag.cli import log, plain_line
from kdiag.cli.commands import PROGRAM
from kdiag.cli.output import forget_stdout
from kdiag.errors import KdiagError

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
        return _run(arguments, program)
    except KdiagError as error:
        return _fail(error.message, error.hint, error.exit_code, debug=debug)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        forget_stdout()
        return 0
    except Exception as error:
        return _fail(f"kdiag failed: {type(error).__name__}: {error}", _BUG_HINT, EXIT_BUG, debug=debug)
    finally:
        log.turn_off()


def _run(arguments: list[str], program: str) -> int:
    plain = plain_line.read(arguments)
    if plain is None:
        from kdiag.cli.app import run_by_click

        return run_by_click(arguments, program=program)
    command, values = plain
    return command.run(values)


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


def _write_anything() -> None:
    """Makes output possible in every locale: what the encoding lacks is escaped rather than a reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
