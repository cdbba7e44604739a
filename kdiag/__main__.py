"""The command `kdiag`. Answers what needs no command line before the rest of kdiag is imported."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from kdiag import __version__


def main() -> int:
    """Runs the command line with the arguments of the process and returns its exit code."""
    # When a process ends, Python looks for circles in all that is there. What it would find goes with the process anyway.
    atexit.register(gc.freeze)
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"kdiag {__version__}")
        return 0
    instruction = os.environ.get("_KDIAG_COMPLETE", "")
    if instruction.startswith("complete_"):
        from kdiag.cli.in_time import answer_in_time

        return answer_in_time(lambda: _complete(instruction, arguments), late=int(instruction == "complete_bash"))
    return _run(arguments)


def _complete(instruction: str, arguments: list[str]) -> int:
    from kdiag.cli import fast_completion

    return fast_completion.answer(instruction) if instruction in fast_completion.SHELLS else _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        if _answered_from_page(arguments):
            return 0
        # A run makes millions of objects that live until it ends, none of them in a circle that grows: looking for circles
        # takes a third of its time. `kdiag watch` looks for them between its runs.
        gc.disable()
        from kdiag.cli.main import run
    except KeyboardInterrupt:
        return 130
    return run(arguments)


def _answered_from_page(arguments: list[str]) -> bool:
    """Prints a help page if there is one for this terminal."""
    if arguments[-1:] not in (["--help"], ["-h"]):
        return False
    from kdiag.cli.pages import help_page

    text = help_page(arguments)
    if text is None:
        return False
    try:
        # The encoding of the terminal may be any: what it lacks is escaped.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        from kdiag.cli.output import forget_stdout

        forget_stdout()
    return True


if __name__ == "__main__":
    sys.exit(main())
