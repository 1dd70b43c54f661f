"""The command `patauth`, which `python -m patauth` runs too."""

from __future__ import annotations

import contextlib
import errno
import io
import sys

_CANNOT_WRITE = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Run the command line and exit with its code (see `patauth.cli`)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    try:
        from .cli import program

        program(prog_name="patauth" if not sys.argv[0].endswith("__main__.py") else "python -m patauth")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as problem:
        if problem.errno not in _CANNOT_WRITE:
            raise
        with contextlib.suppress(OSError):
            sys.stderr.write(f"Error: cannot write the output: {problem.strerror}\n")
        sys.stdout = None  # else Python writes again at exit, and reports the failure again
        sys.exit(1)


if __name__ == "__main__":
    main()
