"""How Sphinx makes the documentation site of the Markdown in this folder and of the code.

    python -m sphinx -W --keep-going docs build/docs
    python -m sphinx -b linkcheck docs build/links      external links too, so it needs the internet

The Markdown stays plain, for readers of the repository. What only the site has is added when a page is read:
the navigation (`site/navigation.py`), the text of files outside of this folder (`site/links.py`), and what
is generated from the code (`site/reference.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.site import links, navigation, reference
from patauth import __version__

project = "patauth"
version = release = __version__
project_copyright = "the authors of patauth"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["pictures", "site"]
myst_heading_anchors = 4  # the anchors that code hosts give

default_role = "code"  # docstrings have `names` in single backticks, as Markdown has
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
add_module_names = False

html_theme = "furo"
html_title = "patauth"
html_static_path = ["site/static"]
html_favicon = "site/static/favicon.svg"
html_css_files = ["patauth.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "default", "github-dark"
copybutton_selector = "div:not(.highlight-none):not(.highlight-default) > div.highlight > pre"

linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)", r"https://[^/]*\bexample\b"]


def setup(app: Sphinx) -> None:
    """Add to the pages what only the site has."""

    def complete(_: Sphinx, page: str, source: list[str]) -> None:
        text = reference.fill(page, source[0])
        if page == "settings":
            text = reference.opened(text)
        text = links.for_site(page, text)
        source[0] = navigation.added_to(page, text)

    def outdated(*_: object) -> list[str]:
        """Name the pages that are made of files which Sphinx does not watch."""
        return [
            navigation.START,
            *links.MIRRORED,
            *(page for page in navigation.pages() if page.startswith("reference/")),
        ]

    def without_inherited(
        _: Sphinx, what: str, _name: str, found: object, *__: object
    ) -> tuple[str, None] | None:
        """Leave out the arguments of an error that takes those of its base."""
        return ("", None) if what == "exception" and "__init__" not in vars(found) else None

    app.connect("source-read", complete)
    app.connect("autodoc-process-signature", without_inherited)
    app.connect("env-get-outdated", outdated)
