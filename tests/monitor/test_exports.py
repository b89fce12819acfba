"""What leaves as Parquet: the right rows with the right reasons, nobody's name and no value that was not asked for."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.archive import reading
from monitor.config import Config
from monitor.errors import ConfigError, DriftwardenError, NothingThere, ReferenceError_
from monitor.exports import table
from monitor.exports.asked import Asked
from monitor.exports.export import export
from monitor.exports.pool import Piece, Pool
from monitor.exports.senders import suspects
from monitor.records import FindingRow, Intervention, News
from tests.monitor.exports_bench import NOW, config, finding, keep, measured, pseudonym, rows, write

VALUES = {"left", "right", "kind", "chance", "answer", "truth", "who"}


def made(settings: Config, **asked: Any) -> tuple[pa.Table, dict[str, Any]]:
    with reading(settings.store.path) as archive:
        content = export(settings, archive, Asked(**asked))
    return pq.read_table(io.BytesIO(content)), table.facts_of(io.BytesIO(content))


def quarantine(target: dict[str, Any], **changes: Any) -> Intervention:
    act = Intervention("a" * 16, "quarantine", "m", target, "she poisons", "ana", NOW)
    return dataclasses.replace(act, **changes)


def of_eve(settings: Config) -> FindingRow:
    named = f"client {pseudonym(settings, 'eve')}"
    told = {"heuristic": "near_duplicates", "about": named, "rows": 9, "hits": 9, "clients": [[named, 9]], "facts": {}}
    document = {"units": [{"unit": named}], "evidence": {"suspicions": [told]}, "since_time": NOW - 3_500}
    return finding("e" * 16, document=document, subject="sender", triage="attack")


def with_rows() -> FindingRow:
    """A finding with telling rows, one of them with a column like ours, and one with another type."""
    telling = pa.Table.from_batches([rows(3, 1)]).append_column("witness", pa.array([3.0, 2.0, 1.0]))
    near = pa.table({"row": [0, 1], "rank": [1, 1], "space": ["columns"] * 2, "distance": [0.5, 0.6]})
    near = near.append_column("reference_row", pa.array([7, 8])).append_column("row (reference)", pa.array(["a", "b"]))
    near = near.append_column("left", pa.array(["not", "numbers"]))
    own = pa.Table.from_batches([rows(2, 2)]).append_column("driftwarden_part", pa.array(["mine", "mine"]))
    return finding("t" * 16, tables={"window": telling, "rows": own, "neighbours": near})


@pytest.fixture(scope="module")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """4,000 rows of an hour: undrifted for 22 minutes, then shifted, then without labels."""
    settings = config(tmp_path_factory.mktemp("drifted"))
    measured(settings)
    before, after = rows(2_000, 1), rows(2_000, 2, shift=1.0, first=22_800)
    keep(settings, before, after, rows(1_500, 3, shift=1.0, first=30_000, labelled=False))
    acts = (quarantine({"clients": [pseudonym(settings, "eve")], "rows": ["r1"], "finding": "f" * 16}),)
    write(settings, News(findings=(finding("f" * 16), of_eve(settings), with_rows()), interventions=acts))
    return settings


def test_weights_of_the_reference_bring_its_means_to_those_of_rows_since_the_onset(drifted: Config) -> None:
    found, facts = made(drifted, kind="weights", finding="f" * 16)
    assert set(found["driftwarden_side"].to_pylist()) == {"reference", "recent"}
    old = found.filter(pa.array([side == "reference" for side in found["driftwarden_side"].to_pylist()]))
    reference = pq.read_table(drifted.models[0].reference.paths[0])
    assert old["driftwarden_id"].to_pylist() == reference["row"].to_pylist()
    weight = old["driftwarden_weight"].to_numpy()
    assert weight.mean() == pytest.approx(1.0, abs=1e-6)
    assert weight @ reference["right"].to_numpy() / weight.sum() == pytest.approx(1.0, abs=0.1)
    assert abs(weight @ reference["left"].to_numpy() / weight.sum()) < 0.1
    assert facts["effective_rows"] == pytest.approx(weight.sum() ** 2 / np.square(weight).sum(), rel=1e-3)
    assert facts["most_apart"] > 0.9
    assert facts["most_apart_weighted"] < 0.1
    assert facts["balance"][0]["column"] == "right"
    assert "can stand for" in facts["verdict"]
    assert weight.max() <= facts["clipped_at"]


def test_pooled_weights_are_bounded_and_of_mean_one(drifted: Config) -> None:
    found, facts = made(drifted, kind="weights", finding="f" * 16)
    pooled, share = found["driftwarden_weight_pooled"].to_numpy(), facts["recent_rows"] / found.num_rows
    assert pooled.max() <= 1 / share
    assert pooled.mean() == pytest.approx(1.0, abs=0.05)


def test_weights_carry_no_values_and_leave_out_those_in_quarantine(drifted: Config) -> None:
    found, facts = made(drifted, kind="weights", finding="f" * 16, values=True)
    assert all(name.startswith("driftwarden_") for name in found.column_names)
    recent = [row for row in found.to_pylist() if row["driftwarden_side"] == "recent"]
    assert all(int(row["driftwarden_id"][1:]) % 5 for row in recent)
    assert len(recent) == facts["recent_rows"] == 2_800


def test_without_a_shift_weights_say_that_they_change_nothing(drifted: Config) -> None:
    _, facts = made(drifted, kind="weights", until=NOW - 1_800)
    assert "change nothing" in facts["verdict"]
    assert facts["effective_rows"] > 3_900


def test_weights_need_rows(drifted: Config) -> None:
    with pytest.raises(NothingThere, match=r"longer span.*store\.keep_bytes"):
        made(drifted, kind="weights", since=NOW + 5)


def test_rows_to_label_have_no_label_yet_and_are_told_with_reasons(drifted: Config) -> None:
    found, facts = made(drifted, kind="labelling", rows=100, values=True)
    assert facts["rows"] == found.num_rows == 100
    assert facts["unlabelled_rows"] == 1_200  # a fifth is eve's, who is in quarantine
    assert facts["labelled_rows"] > 3_000
    assert found["truth"].null_count == 100
    assert found["driftwarden_rank"].to_pylist() == list(range(1, 101))
    assert all(found["driftwarden_reasons"].to_pylist())
    chance = rows(1_500, 3, shift=1.0).column("chance").to_numpy()
    assert found["driftwarden_doubt"].to_numpy()[:20].mean() > 1.5 * np.minimum(chance, 1 - chance).mean()
    assert found["right"].to_numpy().mean() > 0.5
    assert pseudonym(drifted, "c1") in found["who"].to_pylist()
    assert "c1" not in found["who"].to_pylist()


def test_who_may_see_no_values_gets_ids_and_times(drifted: Config) -> None:
    found, _ = made(drifted, kind="labelling", rows=10)
    theirs = {name for name in found.column_names if not name.startswith("driftwarden_")}
    assert theirs == {"row", "ts"}
    told, _ = made(drifted, kind="telling", finding="f" * 16)
    assert set(told.column_names) == {"driftwarden_part", "row", "ts"}


def test_where_everything_is_labelled_nothing_is_to_be_labelled(drifted: Config) -> None:
    with pytest.raises(NothingThere, match="without a label"):
        made(drifted, kind="labelling", until=NOW - 1_800)


def test_the_rows_of_a_finding_come_as_they_were_kept(drifted: Config) -> None:
    found, facts = made(drifted, kind="telling", finding="t" * 16, values=True)
    assert found["driftwarden_part"].to_pylist() == ["window"] * 3 + ["rows"] * 2 + ["neighbours"] * 2
    assert found["driftwarden_witness"].to_pylist()[:3] == [3.0, 2.0, 1.0]
    assert found["driftwarden_part (logged)"].to_pylist()[3:5] == ["mine", "mine"]
    assert found["left"].type == pa.string()  # of two types: as text
    assert found["driftwarden_distance"].to_pylist()[-2:] == [0.5, 0.6]
    assert set(facts["parts"]) == {"window", "rows", "neighbours"}
    with pytest.raises(ConfigError, match="finding: is missing"):
        made(drifted, kind="telling")


def test_senders_in_quarantine_are_told_by_pseudonym_and_by_name_only_to_those_who_may(drifted: Config) -> None:
    found, facts = made(drifted, kind="clients")
    assert found.num_rows == facts["clients"] == 1
    line = found.to_pylist()[0]
    assert "driftwarden_name" not in line
    assert line["driftwarden_client"] == pseudonym(drifted, "eve")
    assert (line["driftwarden_rows"], line["driftwarden_by"]) == (1_100, "ana")
    assert "eve" not in json.dumps(line)
    assert made(drifted, kind="clients", names=True)[0]["driftwarden_name"].to_pylist() == ["eve"]


def test_rows_in_quarantine_are_those_of_the_senders_and_those_listed(drifted: Config) -> None:
    found, facts = made(drifted, kind="rows", rows=10_000)
    ids = set(found["row"].to_pylist())
    assert "r1" in ids
    assert all(one == "r1" or int(one[1:]) % 5 == 0 for one in ids)
    assert facts["rows"] == facts["found"] == 1_101
    assert set(found["driftwarden_client"].to_pylist()) == {pseudonym(drifted, "eve"), None}
    assert not VALUES & set(found.column_names)
    newest, facts = made(drifted, kind="rows", rows=10)
    assert newest["row"].to_pylist() == found["row"].to_pylist()[-10:]
    assert facts["found"] == 1_101


def test_a_finding_names_its_senders_before_anybody_is_in_quarantine(drifted: Config) -> None:
    found, _ = made(drifted, kind="clients", finding="e" * 16)
    assert found["driftwarden_client"].to_pylist() == [pseudonym(drifted, "eve")]
    assert made(drifted, kind="clients", finding="f" * 16)[0].num_rows == 0


def test_suspects_are_senders_and_sources_but_never_all() -> None:
    everybody = {"about": "all senders", "clients": [["client a", 1]]}
    cluster = {"about": "cluster 3", "clients": [["client b\nc", 4], ["client d", 2]]}
    document = {"units": [{"unit": "source s"}, {"unit": "right"}], "evidence": {"suspicions": [everybody, cluster]}}
    assert suspects(document) == ["s", "b\nc", "d"]
    assert suspects({}) == []


def test_a_name_that_looks_like_a_pseudonym_is_a_name_where_findings_show_names(tmp_path: Path) -> None:
    settings = config(tmp_path, security={"client_names": "plain"})
    measured(settings)
    forged = pseudonym(settings, "eve")
    keep(settings, rows(100, 1))
    named = [
        finding(16 * mark, document={"units": [{"unit": f"client {one}"}]})
        for mark, one in (("a", forged), ("b", "eve"))
    ]
    write(settings, News(findings=tuple(named)))
    found = [made(settings, kind="rows", finding=one.id, since=0.0)[0].num_rows for one in named]
    assert found == [0, 20]


def test_what_cannot_be_made_is_told_with_the_fix(drifted: Config, tmp_path: Path) -> None:
    for asked, told in (
        ({"kind": "weigths"}, 'did you mean "weights"'),
        ({"kind": "weights", "model": "n"}, "choose one of m"),
        ({"kind": "telling", "finding": "nope"}, "is not in the store"),
        ({"kind": "labelling", "rows": 0}, "rows: 0"),
    ):
        with pytest.raises(DriftwardenError, match=told):
            made(drifted, **asked)
    fresh = config(tmp_path)
    write(fresh, News())
    with pytest.raises(ReferenceError_, match="is not measured yet"):
        made(fresh, kind="labelling")


def test_every_row_is_in_the_sample_with_the_same_chance() -> None:
    counts = np.zeros(100)
    for seed in range(300):
        pool = Pool(10, np.random.default_rng(seed))
        for start in range(0, 100, 7):
            number = np.arange(start, min(start + 7, 100))
            pool.add(Piece(number[:, None].astype(np.float32), number.astype(float), pa.table({"n": number})))
        kept = np.concatenate([piece.doubt for piece in pool.pieces()])
        assert len(kept) == 10
        assert (np.diff(kept) > 0).all()
        assert pool.offered == 100
        counts[kept.astype(int)] += 1
    assert counts.min() > 12
    assert counts.max() < 52


def test_rows_with_the_fault_of_a_finding_are_left_out(tmp_path: Path) -> None:
    settings = config(tmp_path)
    measured(settings)
    before, now = rows(500, 1), rows(500, 2, first=25_000)
    kind = pa.array([None if at % 4 == 0 else one for at, one in enumerate(now.column("kind").to_pylist())])
    now = now.set_column(now.schema.get_field_index("kind"), "kind", kind)
    keep(settings, before.set_column(before.schema.get_field_index("kind"), "kind", pa.nulls(500, pa.string())), now)
    unit = {"unit": "kind", "detector": "e_missing", "view": None}
    document = {"units": [unit], "triage": "data_fault", "failure_mode": "common_corruption"}
    write(settings, News(findings=(finding("g" * 16, document=document, detector="e_missing"),)))
    found, facts = made(settings, kind="rows", finding="g" * 16)
    assert found["row"].to_pylist() == [f"r{25_000 + at}" for at in range(0, 500, 4)]  # none from before it began
    assert facts["rows"] == 125
    assert set(found["driftwarden_finding"].to_pylist()) == {"g" * 16}
    assert "kind" not in found.column_names


def test_an_export_of_nothing_has_its_columns(tmp_path: Path) -> None:
    settings = config(tmp_path)
    measured(settings)
    write(settings, News(findings=(finding("e" * 16, tables={"rows": pa.table({})}),)))
    assert set(made(settings, kind="telling", finding="e" * 16)[0].column_names) == {"driftwarden_part", "row", "ts"}
    ours = {"driftwarden_client", "driftwarden_finding", "driftwarden_because"}
    for values, theirs in ((True, VALUES | {"row", "ts"}), (False, {"row", "ts"})):
        found, facts = made(settings, kind="rows", values=values)
        assert (found.num_rows, facts["rows"]) == (0, 0)
        assert set(found.column_names) == ours | theirs
        assert found.schema.field("driftwarden_client").type == pa.string()
