"""The artefact gives back what was written, or names the file that is damaged."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor import artefact
from monitor.decode import Decoder
from monitor.errors import ReferenceError_
from monitor.fitted import Fitted
from monitor.reference import fit
from monitor.schema import Roles
from monitor.sections import Season

FILES = ("manifest.json", "arrays.npz", "views.npz", "security.npz", "vocabularies.arrow", "sample.arrow")


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "x": pa.array(rng.normal(size=800), mask=rng.random(800) < 0.1),
            "word": np.array(["a", "é", ""])[rng.integers(0, 3, 800)],
            "code": rng.integers(0, 5, 800),
            "flag": rng.random(800) < 0.5,
            "gone": pa.nulls(800),
        }
    )
    return fit(lambda: iter(table.to_batches()), Roles(segments=("word",), time="ts"), clock=lambda: 1.7e9)


def test_what_is_written_is_read_back(tmp_path: Path, fitted: Fitted) -> None:
    artefact.write(fitted, tmp_path / "deep" / "out")
    got = artefact.load(tmp_path / "deep" / "out")
    assert got.plan == fitted.plan
    assert (got.rows, got.created, got.notes) == (fitted.rows, fitted.created, fitted.notes)
    assert got.sample.equals(fitted.sample)
    assert {k: v.to_pylist() for k, v in got.vocabularies.items()} == {
        k: v.to_pylist() for k, v in fitted.vocabularies.items()
    }
    assert {k: v.type for k, v in got.vocabularies.items()} == {k: v.type for k, v in fitted.vocabularies.items()}
    a, b = got.reference, fitted.reference
    assert a.grid.id == b.grid.id
    assert a.grid.labels == b.grid.labels
    for name in ("centre", "scale", "lut", "edges", "centres", "used", "open_vocabulary", "ordered"):
        np.testing.assert_array_equal(getattr(a.grid, name), getattr(b.grid, name))
    for name in ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums", "mix"):
        got_array, array = getattr(a.summary, name), getattr(b.summary, name)
        assert got_array.dtype == array.dtype
        np.testing.assert_array_equal(got_array, array)
    np.testing.assert_array_equal(a.tau, b.tau)
    np.testing.assert_array_equal(a.tau_missing, b.tau_missing)
    assert a.grid.open_vocabulary.dtype == bool


@pytest.fixture(scope="module")
def joint() -> Fitted:
    """With two embeddings, scores, segments and a season."""
    rng = np.random.default_rng(1)
    n = 3_000
    wide = rng.standard_normal((n, 120)).astype(np.float32)
    table = pa.table(
        {
            "ts": 1_700_000_000 + 60.0 * np.arange(n),
            "x": rng.normal(size=n),
            "word": np.array(["a", "b", "c"])[rng.integers(0, 3, n)],
            "answer": rng.random(n) < 0.5,
            "score": rng.random(n),
            "emb": pa.FixedSizeListArray.from_arrays(wide.ravel(), 120),
            "columns": [[1.0, float(i % 7)] for i in range(n)],
        }
    )
    roles = Roles(time="ts", segments=("word",), prediction="answer", score="score", embeddings=("emb", "columns"))
    season = Season(by="weekday_hour", timezone="Europe/Berlin")
    return fit(lambda: iter(table.to_batches(max_chunksize=700)), roles, season=season, clock=lambda: 1.7e9)


def _equal(a: object, b: object) -> bool:
    """The same values, types and orders to the last bit, all the way down."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def test_views_and_strata_come_back_bit_for_bit(tmp_path: Path, joint: Fitted) -> None:
    artefact.write(joint, tmp_path / "a")
    got = artefact.load(tmp_path / "a")
    assert [view.name for view in joint.reference.views] == [
        "columns", "scores", "emb", "columns (embedding)", "row scores",
    ]  # fmt: skip
    assert joint.reference.strata is not None
    assert len(joint.reference.strata.parts) == 4 * 49
    assert joint.reference.summary.mix.sum() == 3_000
    assert got.reference.grid.vectors == (("emb", 120), ("columns", 2))
    assert got.plan == joint.plan
    assert _equal(got.reference, joint.reference)
    decoders = [Decoder(one.plan, one.reference.grid, one.vocabularies) for one in (joint, got)]
    a, b = (decoder.decode(joint.sample).block for decoder in decoders)
    assert _equal(a.strata, b.strata)
    for one, other in zip(joint.reference.views, got.reference.views, strict=True):
        assert _equal(one.encoder.encode(a), other.encoder.encode(b))


def test_views_that_contradict_their_names_are_found_out(tmp_path: Path, joint: Fitted) -> None:
    artefact.write(joint, tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text())
    changes: tuple[dict[str, Any], ...] = (
        {"views": manifest["views"][::-1]},
        {"views": [*manifest["views"], manifest["views"][0]]},
        {"views": [{**manifest["views"][0], "kind": "pickle"}]},
        {"strata_rows": manifest["strata_rows"][1:]},
        {"vectors": []},
    )
    for change in changes:
        path.write_text(json.dumps(manifest | change))
        with pytest.raises(ReferenceError_, match="driftwarden fit"):
            artefact.load(tmp_path / "a")


def test_a_view_with_a_foreign_encoder_is_not_written(tmp_path: Path, joint: Fitted) -> None:
    view = dataclasses.replace(joint.reference.views[0], encoder=object())  # type: ignore[arg-type]
    foreign = dataclasses.replace(joint, reference=dataclasses.replace(joint.reference, views=(view,)))
    with pytest.raises(TypeError, match="cannot be stored"):
        artefact.write(foreign, tmp_path / "a")


@pytest.mark.parametrize("columns", [{"x": [1.0, 2.0]}, {"c": ["a", "a"]}, {"n": pa.nulls(2, pa.string())}])
def test_artefacts_with_only_one_sort_of_columns_are_read_back(tmp_path: Path, columns: dict[str, object]) -> None:
    one = fit(lambda: iter(pa.table(columns).to_batches()), Roles())
    artefact.write(one, tmp_path / "a")
    assert artefact.load(tmp_path / "a").reference.grid.id == one.reference.grid.id


def test_writing_again_replaces_and_leaves_nothing_behind(tmp_path: Path, fitted: Fitted) -> None:
    artefact.write(fitted, tmp_path / "a")
    artefact.write(fitted, tmp_path / "a")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a"]
    assert sorted(item.name for item in (tmp_path / "a").iterdir()) == sorted(FILES)


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path, fitted: Fitted) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ReferenceError_, match="not an artefact"):
        artefact.write(fitted, tmp_path)
    artefact.write(fitted, tmp_path / "a")
    (tmp_path / "a" / "mine.txt").write_text("keep")
    with pytest.raises(ReferenceError_, match="not an artefact"):
        artefact.write(fitted, tmp_path / "a")
    with pytest.raises(ReferenceError_, match="not an artefact"):
        artefact.write(fitted, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_write_that_fails_keeps_the_old_artefact(
    tmp_path: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact.write(fitted, tmp_path / "a")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReferenceError_, match="No space left"):
        artefact.write(fitted, tmp_path / "a")
    monkeypatch.undo()
    assert artefact.load(tmp_path / "a").rows == 800
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "random"])
def test_damage_names_the_file(tmp_path: Path, fitted: Fitted, name: str, damage: str) -> None:
    artefact.write(fitted, tmp_path / "a")
    path = tmp_path / "a" / name
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        content[middle] ^= 0x80
        path.write_bytes(content)
    else:
        path.write_bytes({"empty": b"", "cut": bytes(content[:middle]), "random": os.urandom(500)}[damage])
    with pytest.raises(ReferenceError_, match=name.replace(".", r"\.")):
        artefact.load(tmp_path / "a")


def test_every_flipped_byte_of_the_manifest_is_an_error_or_harmless(tmp_path: Path, fitted: Fitted) -> None:
    artefact.write(fitted, tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for at in rng.choice(len(content), 200, replace=False):
        damaged = bytearray(content)
        damaged[at] = rng.integers(32, 127)
        path.write_bytes(damaged)
        try:
            artefact.load(tmp_path / "a")
        except ReferenceError_:
            refused += 1
    assert refused > 50


def test_another_format_version_is_refused_with_the_fix(tmp_path: Path, fitted: Fitted) -> None:
    artefact.write(fitted, tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ReferenceError_, match="has format 99, this version reads 3; run `driftwarden fit` again"):
        artefact.load(tmp_path / "a")


def test_an_artefact_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ReferenceError_, match="driftwarden fit"):
        artefact.load(tmp_path / "none")


def test_arrays_that_contradict_the_names_are_found_out(tmp_path: Path, fitted: Fitted) -> None:
    artefact.write(fitted, tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"numeric": manifest["numeric"][:-1]}))
    with pytest.raises(ReferenceError_, match="do not belong together"):
        artefact.load(tmp_path / "a")
