"""`driftwarden audit`: what is heavy is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--data", required=True, multiple=True, help="File, folder or URI of candidate rows; may be repeated.")
@click.option("--reference", multiple=True, help="Trusted rows; without them rows are compared with each other.")
@click.option("--label", default="label", show_default=True, help="Column with the class of each row.")
@click.option("--embedding", help="Column of lists of numbers to compare rows by; else all other columns.")
@click.option("--source", help="Column that says where a row or its label comes from.")
@click.option(
    "--probabilities",
    multiple=True,
    help="Column of lists, or one column a class: what a model not trained on them said.",
)
@click.option("--ignore", multiple=True, help="Column that says nothing about the class; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Parquet file for all rows, ranked, with reasons.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Same seed, same answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def audit(out: Path | None, seed: int, *, as_json: bool, **asked: Any) -> None:
    """Look for poison in rows before a model is trained on them: wrong labels, backdoors, floods of copies.

    Exit 0: nothing suspicious, 1: something is, 2: a table or an option cannot be used. It needs no configuration.
    """
    import numpy as np

    from monitor.audit import audit as compare
    from monitor.audit_data import Asked, prepare
    from monitor.audit_report import dumped, print_audit, write

    rng = np.random.default_rng(seed)
    found = compare(prepare(Asked(**asked), rng), rng)
    if out is not None:
        write(found, out)
    if as_json:
        click.echo(dumped(found, out))
    else:
        print_audit(found, out)
    sys.exit(1 if found.suspicious else 0)
