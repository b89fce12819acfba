"""Templates to HTML: everything is escaped, and a name that is not given is an error."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse

from monitor.web import wording
from monitor.web.csrf import csrf_token
from monitor.web.people import SHARED, Person

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "templates"

_FILTERS: Final = (
    *("ago", "capital", "claim", "clean", "fold", "instant", "machine_time"),
    *("mode_title", "number", "percent", "span", "targets"),
)
"""Functions of `wording` that templates use, and its tables."""
_TABLES: Final = ("KINDS", "SEVERITIES", "STATES", "SURE", "TRIAGES", "PARTS")


@cache
def environment() -> Environment:
    """Made with the first page: an agent whose pages nobody opens pays nothing for them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({name: getattr(wording, name) for name in _FILTERS}, data=_data)
    made.globals.update({name: getattr(wording, name) for name in _TABLES})
    return made


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page for whoever asks."""
    person: Person = request.state.person
    text = (
        environment()
        .get_template(template)
        .render(
            person=person, shared=person.name in SHARED, token=csrf_token(request), path=request.url.path, **context
        )
    )
    return HTMLResponse(text, status_code=status)


def _data(value: object) -> str:
    """A value for an attribute that the script reads; the template escapes it like any text."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
