"""A column that is named for a role and never comes is told once, with the name that was meant."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from monitor.absent import ROWS, Absent
from monitor.cli import command
from monitor.schema import Roles
from monitor.security.pseudonyms import Pseudonyms, key_of

ROLES = Roles(client="apikey", version="model_version", label="truth", ignore=("junk",))


def test_a_misspelt_role_is_told_once_after_rows_enough() -> None:
    one = Absent(ROLES, ["x"])
    names = ["x", "api_key", "model_version"]
    assert one.look(names, ROWS - 1) == []
    told = one.look(names, 1)
    assert told == [
        'columns.client: no column "apikey" in 2000 rows; did you mean "api_key"?',
        'columns.label: no column "truth" in 2000 rows; the newest batch has: x, api_key, model_version',
    ]
    assert one.look(names, ROWS) == []


def test_a_column_that_came_once_and_one_of_the_reference_are_not_missed() -> None:
    one = Absent(ROLES, ["truth"])
    assert one.look(["apikey", "model_version"], 1) == []
    assert one.look(["x"], 2 * ROWS) == []


def test_the_command_tells_pseudonyms(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "models: [{name: m, reference: r.parquet}]\nstore: {path: state}\n", encoding="utf-8"
    )
    done = CliRunner().invoke(command, ["pseudonym", "--config", str(tmp_path / "c.yaml"), "eve", "ann"])
    assert done.exit_code == 0, done.output
    known = Pseudonyms(key_of(tmp_path / "state"))
    assert done.stdout.splitlines() == [f"{known.of_name(name):016x}  {name}" for name in ("eve", "ann")]
