"""What validate finds beside the file: columns of the reference, people whom the gate does not know, folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from monitor import cli
from tests.monitor.certificates import HASH, Authority, write


def validate(folder: Path, **document: Any) -> Result:
    """The command over a reference with a column of vectors."""
    rows = {"age": [1.0, 2.0], "chances": [[0.1, 0.9]] * 2, "words": [["a"]] * 2, "blank": pa.nulls(2)}
    pq.write_table(pa.table(rows), folder / "r.parquet")
    model = {"name": "m", "reference": "r.parquet", "columns": document.pop("columns", {})}
    model |= {"captions": document.pop("captions")} if "captions" in document else {}
    file = folder / "c.yaml"
    file.write_text(json.dumps({"models": [model], "store": {"path": "state"}, **document}), "utf-8")
    return CliRunner().invoke(cli.command, ["validate", "-c", str(file), "--json"], catch_exceptions=False)


def faults(folder: Path, **document: Any) -> list[str]:
    found: list[str] = json.loads(validate(folder, **document).output).get("faults", [])
    return found


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"probabilities": "age"}, "models.0.columns.probabilities: `age` is a column of double"),
        ({"logits": "words"}, "models.0.columns.logits: `words` is a column of list<"),
        ({"embeddings": ["chances", "age"]}, "models.0.columns.embeddings: `age` is a column of double"),
    ],
)
def test_a_column_named_for_vectors_must_hold_some(tmp_path: Path, columns: dict[str, Any], told: str) -> None:
    (fault,) = faults(tmp_path, columns=columns)
    assert fault.startswith(told)
    assert fault.endswith("holds no vectors; name a column of lists of numbers, or remove it")


@pytest.mark.parametrize("columns", [{"probabilities": "chances"}, {"probabilities": "blank"}, {"logits": "elsewhere"}])
def test_vectors_and_what_the_reference_lacks_pass(tmp_path: Path, columns: dict[str, Any]) -> None:
    assert validate(tmp_path, columns=columns).exit_code == 0


def test_captions_are_a_table_of_texts_and_vectors_for_an_embedding(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["dark"], "embedding": [[0.1, 0.9]]}), tmp_path / "good.parquet")
    pq.write_table(pa.table({"text": ["dark"]}), tmp_path / "bad.parquet")
    columns = {"embeddings": "chances"}
    assert validate(tmp_path, captions="good.parquet", columns=columns).exit_code == 0
    (fault,) = faults(tmp_path, captions="bad.parquet", columns=columns)
    assert fault.endswith("bad.parquet has no column caption, embedding; there are: text")
    (fault,) = faults(tmp_path, captions="none.parquet", columns=columns)
    assert fault.endswith("cannot be read as Parquet: FileNotFoundError")
    (fault,) = faults(tmp_path, captions="good.parquet")
    assert fault.startswith("models.0.captions: needs columns.embeddings")


def test_people_whom_nothing_lets_in_are_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame", "utf-8")
    write(tmp_path, {"basic_auth_users": {"ana": HASH}})
    known = [{"name": "ana", "act": True}, {"name": "bo", "token_file": "token"}, {"name": "anonymous"}]
    web = {"config_file": "web.config.yml", "people": known}
    assert validate(tmp_path, web=web).exit_code == 0
    (fault,) = faults(tmp_path, web=web | {"people": [*known, {"name": "nobody"}]})
    assert fault.startswith('web.people.3.name: "nobody" is no user in basic_auth_users of config_file (')
    assert "web.config.yml) and has no token; add the user there" in fault
    without = {"people": [{"name": "bo", "token_file": "token"}, {"name": "nobody"}]}
    assert len(faults(tmp_path, web=without)) == 1
    assert faults(tmp_path, web=without | {"enabled": False}) == []


def test_a_certificate_may_name_anybody_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server() | {"client_ca_file": "ca.pem", "client_auth_type": "RequireAndVerifyClientCert"}
    write(tmp_path, {"tls_server_config": tls})
    web = {"config_file": "web.config.yml", "people": [{"name": "cara"}]}
    assert validate(tmp_path, web=web).exit_code == 0
    write(tmp_path, {"tls_server_config": tls, "basic_auth_users": {"ana": HASH}})
    assert len(faults(tmp_path, web=web)) == 1
