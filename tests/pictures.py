"""Pictures of the page in each of its states.

    python -m tests.pictures --theme dark --width 320 --into /tmp/pictures list reveal

They are of PATs in a store that no longer exists. Without names of states, there are pictures of all. Those
that the documents show are kept in docs/pictures: list.png with its top as overview.png, new.png, reveal.png.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.browser import chromium
from tests.support.page import STATES, showing, visiting
from tests.support.paths import ROOT
from tests.support.png import lighter
from tests.support.servers import Server, binaries


def main(words: Sequence[str] | None = None) -> None:
    """Take the pictures that the command line asks for."""
    given = _parser().parse_args(words)
    given.into.mkdir(parents=True, exist_ok=True)
    seen = {
        "color_scheme": given.theme,
        "locale": given.language,
        "timezone_id": "Europe/Berlin",
        "viewport": {"width": given.width, "height": 600},
    }
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Server(binaries()["valkey"], Path(folder))
        try:
            for name in given.states or STATES:
                with visiting(browser, **seen) as page, showing(server, name, page):
                    (given.into / f"{name}.png").write_bytes(lighter(page.screenshot(full_page=True)))
                    if name == "list" and (last := page.locator("tbody tr").nth(2).bounding_box()):
                        top = {"x": 0, "y": 0, "width": given.width, "height": last["y"] + last["height"]}
                        picture = lighter(page.screenshot(full_page=True, clip=top))
                        (given.into / "overview.png").write_bytes(picture)
        finally:
            server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("states", nargs="*", metavar="STATE", help=f"of {', '.join(STATES)}")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "pictures", metavar="FOLDER")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--width", type=int, default=1100, metavar="PIXELS")
    parser.add_argument("--language", default="en", metavar="TAG")
    return parser


if __name__ == "__main__":
    main()
