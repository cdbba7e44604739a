"""The command `kdiag`. Answers what needs no command line before the rest of kdiag is imported."""

from __future__ import annotations

import sys

from kdiag import __version__


def main() -> int:
    """Runs the command line with the arguments of the process and returns its exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"kdiag {__version__}")
        return 0
    try:
        from kdiag.cli.main import run
    except KeyboardInterrupt:
        return 130
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
