"""The command `patauth`; `python -m patauth` is the same."""

from __future__ import annotations

import contextlib
import io
import sys


def main() -> None:
    """Run the command line and exit with its code (see `patauth.cli`)."""
    with contextlib.suppress(AttributeError):  # a stream may be closed, or be no file
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    try:
        from .cli import program

        program(prog_name="patauth" if not sys.argv[0].endswith("__main__.py") else "python -m patauth")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
