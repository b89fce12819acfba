"""The runbooks that come with the agent, as a page: an alert's link works without any address outside."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

PLACES = (Path(__file__).parent / "runbooks.md", Path(__file__).parents[2] / "deploy" / "runbooks" / "README.md")
"""In an installed package, and in the source tree."""


@cache
def runbooks() -> Markup:
    """The text as HTML, each heading with its anchor."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    found = next((path for path in PLACES if path.is_file()), None)
    text = "# Runbooks\n\nThis installation has none." if found is None else found.read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = re.sub(r'<a href="(?![#/])[^"]*">(.*?)</a>', r"\1", html)  # files that lie beside it are not served
    return Markup(re.sub(r"<h([1-4])>(.*?)</h\1>", _anchored, html))  # noqa: S704 - our own file, without raw HTML


def _anchored(found: re.Match[str]) -> str:
    """A heading with the anchor that GitHub would give it."""
    level, inner = found.groups()
    words = re.sub(r"<[^>]+>", "", inner).lower()
    return f'<h{level} id="{re.sub(r"[^a-z0-9 _-]", "", words).replace(" ", "-")}">{inner}</h{level}>'
