"""A page that needs nothing else: no script, no font, no address outside itself; light and dark, good on a phone."""

from __future__ import annotations

from html import escape

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --faint: #5c6675; --rule: #dfe3e8; --card: #f6f7f9;
  --warn: #8a4b00; --warn-card: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ee; --faint: #9aa4b2; --rule: #2c343f;
  --card: #1b2129; --warn: #ffc266; --warn-card: #33270f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; max-width: 52rem; } .faint { color: var(--faint); }
.warnings { background: var(--warn-card); color: var(--warn); border-radius: .5rem; padding: .6rem 1rem .6rem 2rem; }
figure { margin: 0; background: var(--card); border-radius: .5rem; padding: .6rem; min-width: 0; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; } figcaption b { font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--rule); stroke-width: 1; } .tick { fill: var(--faint); font: 9px system-ui, sans-serif; }
.limit { stroke: var(--faint); stroke-width: 1.5; stroke-dasharray: 4 3; fill: none; }
.line { fill: none; stroke-width: 1.8; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; min-width: 40rem; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
"""


def page(title: str, body: str, style: str = "") -> str:
    """The whole document; ``body`` is HTML, ``title`` is not, ``style`` goes behind what all pages share."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def line(tag: str, cells: list[str]) -> str:
    """A row of a table, of texts."""
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
