"""Learning a reference, for the first time or again: rows are kept over reloads, and bad rows end nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitor import artefact, learning, standing
from monitor.clock import SystemClock
from monitor.config import Config, parse_config
from monitor.errors import ConfigError, ReferenceError_
from monitor.interventions import Wanted
from monitor.learning import Learner
from monitor.loading import at_hand, fitted_of, measure_batches
from monitor.records import Intervention, InterventionKind
from monitor.watched import Act, References, Watched
from tests.monitor.streams_bench import model, rows

ACT = Act("a1", "m", "a new tariff", "ana", 3_000, 1.7e9)


def config(folder: Path, **changes: Any) -> Config:
    model = {"name": "m", "reference": {"learn_rows": 2_000}, "pane": {"rows": 200}, "window": {"panes": 10}} | changes
    return parse_config({"models": [model], "store": {"path": str(folder)}}, base=folder)


def begin(folder: Path, settings: Config) -> tuple[References, Watched]:
    references = References(folder, SystemClock())
    return references, references.watch(settings.models[0], settings)


def learnt(folder: Path) -> tuple[References, Watched, Config]:
    settings = config(folder)
    references, watched = begin(folder, settings)
    rest, new = references.learn(watched, rows(2_500, 0), settings)
    assert new
    assert rest is not None
    assert rest.num_rows == 500
    return references, watched, settings


def _refuse(*_: object) -> Any:
    raise ReferenceError_("no column can be watched")


def test_a_rebaseline_of_rows_that_make_no_reference_is_called_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references, watched, settings = learnt(tmp_path)
    old = watched.streams
    references.rebaseline(watched, ACT)
    monkeypatch.setattr(learning, "measure_batches", _refuse)
    batch = rows(3_000, 1)
    assert references.learn(watched, batch, settings) == (batch, False)
    assert references.learn(watched, batch, settings) == (batch, False)
    assert watched.streams is old
    assert (watched.learner, watched.act) == (None, None)
    assert begin(tmp_path, settings)[1].act is None


def test_first_rows_that_make_no_reference_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path)
    references, watched = begin(tmp_path, settings)
    with monkeypatch.context() as patched:
        patched.setattr(learning, "measure_batches", _refuse)
        assert references.learn(watched, rows(2_000, 0), settings) == (None, False)
    assert watched.learner is not None
    assert watched.learner.rows == 0
    assert references.learn(watched, rows(2_000, 1), settings)[1]


def test_rows_of_a_pending_rebaseline_outlive_a_reload_and_the_restart_after_it(tmp_path: Path) -> None:
    references, watched, settings = learnt(tmp_path)
    references.rebaseline(watched, ACT)
    for sequence, seed in ((1, 1), (2, 2)):
        references.learn(watched, rows(1_000, seed), settings)
        if sequence == 1:
            assert watched.learner is not None
            watched.learner.save(sequence)
    changed = config(tmp_path, max_segments=3)
    fresh = references.watch(changed.models[0], changed)
    references.go_on([fresh], {"m": watched}, 2)
    assert fresh.learner is not None
    assert fresh.learner.rows == 2_000
    again = begin(tmp_path, changed)[1]
    assert again.learner is not None
    again.learner.restore(2)
    assert again.learner.rows == 2_000
    assert references.learn(again, rows(1_500, 3), changed)[1]


def test_more_rows_than_are_wanted_now_are_enough(tmp_path: Path) -> None:
    settings = config(tmp_path).models[0]
    before = Learner(settings, 5_000, tmp_path)
    before.feed(rows(3_000, 0))
    before.save(1)
    fewer = Learner(settings, 2_000, tmp_path)
    fewer.restore(1)
    rest = fewer.feed(rows(100, 1))
    assert fewer.complete
    assert rest is not None
    assert rest.num_rows == 100


def test_models_whose_names_have_dots_keep_their_own_rebaselines(tmp_path: Path) -> None:
    both = [config(tmp_path, name=name) for name in ("credit.a", "credit.b")]
    for settings in both:
        references, watched = begin(tmp_path, settings)
        references.learn(watched, rows(2_000, 0), settings)
        references.rebaseline(watched, Act("a1", settings.models[0].name, "a new tariff", "ana", 3_000, 1.7e9))
        assert references.learn(watched, rows(3_000, 1), settings)[1]
    for settings in both:
        streams = begin(tmp_path, settings)[1].streams
        assert streams is not None
        assert streams.fitted.rows == 3_000


def test_what_was_learnt_for_other_columns_is_learnt_anew(tmp_path: Path) -> None:
    _, watched, settings = learnt(tmp_path)
    assert watched.streams is not None
    assert begin(tmp_path, settings)[1].streams is not None
    changed = config(tmp_path, columns={"segments": ["kind"]})
    assert begin(tmp_path, changed)[1].learner is not None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"columns": {"segments": ["kind"]}}, "segments none, the configuration says kind; fit it anew"),
        ({"columns": {"time": "ts"}, "season": {"by": "hour_of_day"}}, "time none, the configuration says ts"),
    ],
)
def test_an_artefact_fitted_for_other_strata_is_refused_with_the_fix(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    artefact.write(measure_batches([rows(2_000, 0)], model()), tmp_path / "artefact")
    path = str(tmp_path / "artefact")
    assert fitted_of(model(reference=path)).rows == 2_000
    for get in (fitted_of, lambda changed: at_hand(changed, tmp_path)):
        with pytest.raises(ReferenceError_, match=told):
            get(model(reference=path, **changes))


def test_rows_whose_types_grow_are_learnt_from_as_well(tmp_path: Path) -> None:
    def some(values: list[Any]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"a": pa.array(values), "kind": pa.array(["x", "y"] * (len(values) // 2))})

    settings = config(tmp_path, reference={"learn_rows": 300}).models[0]
    it = Learner(settings, 300, tmp_path)
    assert it.feed(some([None] * 100)) is None
    assert it.feed(some(list(range(100)))) is None
    it.save(1)
    again = Learner(settings, 300, tmp_path)
    again.restore(1)
    again.feed(some([0.5 * i for i in range(100)]))
    assert again.complete
    fitted = again.fit()
    assert fitted.rows == 300
    assert fitted.reference.grid.numeric_names == ("a",)


def test_evidence_goes_on_only_where_a_pane_is_still_the_same(tmp_path: Path) -> None:
    learnt(tmp_path)

    def identity(**changes: Any) -> str:
        return begin(tmp_path, config(tmp_path, **changes))[1].identity

    assert identity(max_segments=3) == identity()
    assert identity(pane={"every": "60s"}) != identity()
    assert identity(moving={"panes": 20}) != identity()


def taken(folder: Path) -> tuple[References, Watched, Config]:
    """A model that was re-baselined to 3,000 rows and then, from a span, to 1,500."""
    references, watched, settings = learnt(folder)
    references.rebaseline(watched, ACT)
    assert references.learn(watched, rows(3_000, 1), settings)[1]
    second = dataclasses.replace(ACT, id="a2", rows=0)
    references.adopt(watched, second, measure_batches([rows(1_500, 2)], settings.models[0]), settings)
    return references, watched, settings


def sizes(watched: Watched) -> int:
    assert watched.streams is not None
    return watched.streams.fitted.rows


def undo(name: str) -> Intervention:
    return Intervention(name, "rebaseline", "m", {}, "a new tariff", "ana", 1.0, None, 2.0, "bob", "a mistake")


def test_rebaselines_are_taken_back_one_by_one_also_after_a_restart(tmp_path: Path) -> None:
    references, watched, settings = taken(tmp_path)
    assert sizes(watched) == sizes(begin(tmp_path, settings)[1]) == 1_500
    with pytest.raises(ConfigError, match="take back the later ones first"):
        references.back(watched, undo("a1"), settings)
    assert references.back(watched, undo("a2"), settings)
    assert sizes(watched) == sizes(begin(tmp_path, settings)[1]) == 3_000
    assert references.back(watched, undo("a1"), settings)
    assert sizes(watched) == sizes(begin(tmp_path, settings)[1]) == 2_000
    with pytest.raises(ConfigError, match="not kept any more"):
        references.back(watched, undo("a1"), settings)
    told = [json.loads(line) for line in (tmp_path / "references" / "history.jsonl").read_text().splitlines()]
    assert [(one["id"], "undone" in one) for one in told] == [("a1", False), ("a2", False), ("a2", True), ("a1", True)]


def test_a_rebaseline_that_still_gathers_is_called_off(tmp_path: Path) -> None:
    references, watched, settings = learnt(tmp_path)
    references.rebaseline(watched, ACT)
    references.learn(watched, rows(1_000, 1), settings)
    assert not references.back(watched, undo("a1"), settings)
    assert (watched.learner, watched.act) == (None, None)
    assert sizes(watched) == 2_000
    assert begin(tmp_path, settings)[1].act is None


def test_only_so_many_rebaselines_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "DEEPEST", 2)
    references, watched, settings = taken(tmp_path)
    third = dataclasses.replace(ACT, id="a3", rows=0)
    references.adopt(watched, third, measure_batches([rows(1_200, 3)], settings.models[0]), settings)
    places = {path.name for path in (tmp_path / "references").glob("m-rebaselined-*") if path.is_dir()}
    assert places == {"m-rebaselined-a2", "m-rebaselined-a3"}


def test_a_reference_of_a_span_needs_rows(tmp_path: Path) -> None:
    settings = config(tmp_path).models[0]
    with pytest.raises(ConfigError, match="999 rows of this span are kept"):
        learning.measured([rows(999, 0)], settings)
    assert learning.measured([rows(600, 0), rows(600, 1)], settings).rows == 1_200


@pytest.mark.parametrize(
    ("kind", "target", "told"),
    [
        ("mute", {"column": "aa"}, 'target.column: unknown column; did you mean "a"'),
        ("mute", {"segment": "kind=nobody"}, "target.segment: unknown segment"),
        ("quarantine", {"clients": ["zzz"]}, "target.clients: 'zzz' is no pseudonym"),
        ("mute", {"column": "a"}, ""),
        ("quarantine", {"clients": ["0123456789abcdef"]}, ""),
    ],
)
def test_what_a_model_does_not_have_cannot_be_muted(
    tmp_path: Path, kind: InterventionKind, target: dict[str, Any], told: str
) -> None:
    _, watched, _ = learnt(tmp_path)
    faults = watched.unknown(Wanted(kind, "m", "known", "ana", target, 70.0))
    assert faults[0].startswith(told) if told else not faults
