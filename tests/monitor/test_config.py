from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Config, describe, fingerprint, load, parse_config
from monitor.errors import ConfigError
from monitor.quantities import Address

SAMPLE = """
models:
  - name: credit
    reference: reference.parquet
    columns:
      {time: ts, id: request_id, client: client_id, prediction: y_pred, score: y_score, label: y_true,
       version: model_version, segments: [region], embeddings: [emb], categorical: [zip], ignore: [note]}
    pane: {every: 60s}
    window: {panes: 60}
    alarms: {false_alarms: 1 per 90d, smallest_shift: 0.05}
sources: [{flight: {listen: "127.0.0.1:8815"}}, {http: {listen: "127.0.0.1:9710"}}]
store: {path: ./driftwarden-data}
"""
BASE = Path("/srv/agent")


def made(environ: Mapping[str, str] | None = None, model: Mapping[str, Any] | None = None, **top: Any) -> Config:
    one = {"name": "credit", "reference": "reference.parquet", **(model or {})}
    return parse_config({"models": [one], **top}, base=BASE, environ=environ or {})


def faults(environ: Mapping[str, str] | None = None, model: Mapping[str, Any] | None = None, **top: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        made(environ, model, **top)
    assert caught.value.exit_code == 78
    return caught.value.faults


def write(folder: Path, text: str) -> Path:
    file = folder / "driftwarden.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_class_is_named_once() -> None:
    (fault,) = faults(model={"columns": {"probabilities": "p", "classes": ["a", "b", "a"]}, "pane": {"rows": 200}})
    assert "columns.classes: a class is named twice" in fault


def test_the_documented_sample_is_understood(tmp_path: Path) -> None:
    config = load(write(tmp_path, SAMPLE))
    model = config.models[0]
    assert model.name == "credit"
    assert model.reference.paths == (str(tmp_path / "reference.parquet"),)
    assert (model.columns.time, model.columns.segments) == ("ts", ("region",))
    assert (model.pane.every, model.pane.wait, model.window.panes) == (60.0, 60.0, 60)
    assert model.run_length == model.ticket_run_length == 129_600
    assert [source.kind for source in config.sources] == ["flight", "http"]
    assert config.store.path == tmp_path / "driftwarden-data"


def test_all_but_name_and_reference_has_a_default() -> None:
    config = made()
    model = config.models[0]
    assert (model.pane.every, model.hold, str(model.false_tickets)) == (60.0, 60, "1 per 90d")
    assert (model.alarms.smallest_shift, model.alarms.smallest_fault) == (0.05, 0.01)
    assert config.store.path == BASE / "driftwarden-data"
    assert config.store.durable
    assert {source.kind for source in config.sources} == {"flight", "http"}
    assert config.endpoint.address == Address("127.0.0.1", 9710)


def test_every_fault_is_told_at_once_with_its_place() -> None:
    found = faults(
        model={
            "pane": {"every": 60, "rows": 200},
            "alarms": {"false_alarm": "1 per 90d", "smallest_shift": 2},
            "window": {"panes": 0},
        },
        sources=[{"flight": {"listen": "0.0.0.0:8815"}}, {"htp": {}}],
        log={"format": "xml"},
        metrics=5,
    )
    places = [fault.split(": ")[0] for fault in found]
    assert sorted(places) == sorted(
        [
            "models.0.pane.every",
            "models.0.pane",
            "models.0.alarms.false_alarm",
            "models.0.alarms.smallest_shift",
            "models.0.window.panes",
            "sources.0.flight.listen",
            "sources.1.htp",
            "log.format",
            "metrics",
        ]
    )


@pytest.mark.parametrize(
    ("model", "place", "near"),
    [
        ({"alarms": {"false_alarm": "1 per 90d"}}, "models.0.alarms.false_alarm", "false_alarms"),
        ({"columns": {"predicton": "y"}}, "models.0.columns.predicton", "prediction"),
        ({"pane": {"evry": "60s", "rows": 5}}, "models.0.pane.evry", "every"),
        ({"referense": "x"}, "models.0.referense", "reference"),
        ({"reference": {"learn_row": 5}}, "models.0.reference", "learn_rows"),
    ],
)
def test_an_unknown_key_is_met_with_the_nearest_known_one(model: dict[str, Any], place: str, near: str) -> None:
    assert f'{place}: unknown key; did you mean "{near}"?' in faults(model=model)


def test_a_key_like_no_other_is_met_with_the_list() -> None:
    assert faults(queue={"xyzzy": 1}) == ["queue.xyzzy: unknown key; known: bytes"]


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ({"name": "cr/edit"}, "models.0.name"),
        ({"name": 5}, "models.0.name"),
        ({"reference": 5}, "models.0.reference"),
        ({"reference": []}, "models.0.reference"),
        ({"reference": {"learn_rows": 0}}, "models.0.reference"),
        ({"pane": {}}, "models.0.pane"),
        ({"pane": {"rows": 0}}, "models.0.pane.rows"),
        ({"pane": {"rows": 20, "lateness": "5s"}}, "models.0.pane.lateness"),
        ({"pane": "60s"}, "models.0.pane"),
        ({"columns": {"time": "ts", "ignore": ["ts"]}}, "models.0.columns.ignore"),
        ({"columns": {"segments": [5]}}, "models.0.columns.segments.0"),
        ({"alarms": {"false_alarms": "often"}}, "models.0.alarms.false_alarms"),
        ({"alarms": {"false_tickets": "1 per 1s"}}, "models.0.alarms.false_tickets"),
        ({"alarms": {"smallest_fault": float("nan")}}, "models.0.alarms.smallest_fault"),
        ({"max_segments": "many"}, "models.0.max_segments"),
    ],
)
def test_a_bad_model_is_refused_at_its_field(model: dict[str, Any], place: str) -> None:
    found = faults(model=model)
    assert len(found) == 1
    assert found[0].startswith(place + ": ")


@pytest.mark.parametrize(
    ("top", "place", "fix"),
    [
        ({"sources": [{"http": {}, "flight": {}}]}, "sources.0", "list entry of its own"),
        ({"sources": [{}]}, "sources.0", "flight, http, directory, stdin"),
        ({"sources": ["stdin"]}, "sources.0", "mapping"),
        ({"sources": [{"stdin": {"model": "credt"}}]}, "sources.0.stdin.model", 'did you mean "credit"?'),
        ({"sources": [{"directory": {"model": "credit"}}]}, "sources.0.directory.path", "missing"),
        ({"sources": [{"stdin": {"model": "credit"}}] * 2}, "sources.1.stdin", "remove one"),
        ({"sources": [{"flight": {"tls_cert": "a.pem"}}]}, "sources.0.flight.tls_key", "both"),
        ({"sources": [{"flight": {"when_full": "block"}}]}, "sources.0.flight.when_full", "'reject' or 'drop_oldest'"),
        ({"sources": [{"flight": {"listen": "127.0.0.1:9710"}}, {"http": None}]}, "sources.1.http.listen", "port"),
        ({"sources": [{"http": {}}], "telemetry": {"listen": "localhost:99999"}}, "telemetry.listen", "port"),
        ({"telemetry": {"listen": ":9999"}}, "telemetry.listen", "token_file or token_env"),
        ({"queue": {"bytes": "1MiB"}}, "queue.bytes", "limits.body_bytes"),
        ({"store": {"checkpoint": "1 fortnight"}}, "store.checkpoint", "ms, s, m, h, d, w"),
        ({"store": {"path": 5}}, "store.path", "path"),
        ({"limits": {"columns": 0}}, "limits.columns", "at least 1"),
    ],
)
def test_a_bad_section_is_refused_with_its_fix(top: dict[str, Any], place: str, fix: str) -> None:
    found = faults(None, None, **top)
    assert len(found) == 1
    assert found[0].startswith(place + ": ")
    assert fix in found[0]


def test_two_models_of_one_name_are_refused() -> None:
    one = {"name": "a", "reference": "x"}
    with pytest.raises(ConfigError, match=r"models\.1\.name: .*another"):
        parse_config({"models": [one, one]}, base=BASE)


@pytest.mark.parametrize("document", [None, [], "text", 5, {}, {"models": []}, {"models": {}}, {"models": [None]}])
def test_a_file_without_models_is_refused(document: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(document, base=BASE)
    assert all(caught.value.faults)


def test_a_missing_section_body_means_its_defaults() -> None:
    config = made(model={"columns": None, "window": None}, log=None, sources=[{"http": None}])
    assert config.log.format == "logfmt"
    assert str(config.sources[0].settings.listen) == "127.0.0.1:9710"  # type: ignore[union-attr]


def test_one_column_name_needs_no_list() -> None:
    assert made(model={"columns": {"segments": "region"}}).models[0].columns.segments == ("region",)


def test_a_segment_may_be_given_a_kind() -> None:
    columns = made(model={"columns": {"segments": "region", "categorical": "region"}}).models[0].columns
    assert columns.categorical == ("region",)


def test_references_may_be_uris_lists_or_learned() -> None:
    assert made(model={"reference": "s3://bucket/ref"}).models[0].reference.paths == ("s3://bucket/ref",)
    assert made(model={"reference": ["a", "/b"]}).models[0].reference.paths == ("/srv/agent/a", "/b")
    assert made(model={"reference": {"learn_rows": 500}}).models[0].reference.learn_rows == 500


def test_metrics_are_served_where_the_http_source_listens_unless_told_otherwise() -> None:
    follows = made(sources=[{"http": {"listen": "127.0.0.1:7000"}}])
    assert follows.endpoint.address.port == 7000
    alone = made(sources=[{"stdin": {"model": "credit"}}])
    assert alone.endpoint.address.port == 9710
    own = made(sources=[{"http": {}}], telemetry={"listen": "127.0.0.1:7001"})
    assert own.endpoint.address.port == 7001
    shared = made(sources=[{"http": {}}], telemetry={"listen": "127.0.0.1:9710"})
    assert shared.endpoint.address.port == 9710


def test_a_token_comes_from_a_variable_and_is_never_shown() -> None:
    config = made({"TOKEN": "s3cr3t\n"}, None, sources=[{"http": {"listen": ":9710", "token_env": "TOKEN"}}])
    assert config.endpoint.token == "s3cr3t"
    assert "s3cr3t" not in repr(config)
    assert "s3cr3t" not in describe(config)
    assert "s3cr3t" not in config.model_dump_json()


def test_a_token_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n", encoding="utf-8")
    text = 'models: [{name: m, reference: r}]\nsources: [{flight: {listen: "[::]:8815", token_file: token}}]\n'
    assert load(write(tmp_path, text)).sources[0].settings.token == "abc"  # type: ignore[union-attr]


def test_another_token_makes_another_configuration() -> None:
    sources = [{"http": {"token_env": "TOKEN"}}]
    assert made({"TOKEN": "a"}, None, sources=sources) != made({"TOKEN": "b"}, None, sources=sources)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"token_env": "NOPE"}, "sources.0.http.token_env"),
        ({"token_file": "nope"}, "sources.0.http.token_file"),
        ({"token_file": "nope", "token_env": "NOPE"}, "sources.0.http.token_env"),
    ],
)
def test_a_token_that_is_not_there_is_a_fault(settings: dict[str, str], place: str) -> None:
    found = faults(None, None, sources=[{"http": settings}])
    assert [fault.split(": ")[0] for fault in found] == [place]


def test_a_file_can_be_checked_where_its_secrets_are_not(tmp_path: Path) -> None:
    file = write(tmp_path, "models: [{name: m, reference: r}]\nsources: [{http: {token_env: NOPE}}]\n")
    assert load(file, environ={}, secrets=False).endpoint.token is None
    with pytest.raises(ConfigError, match="NOPE"):
        load(file, environ={})


def test_a_literal_token_is_refused_without_being_repeated() -> None:
    found = faults(None, None, sources=[{"http": {"token": "hunter2"}}])
    assert found == ['sources.0.http.token: unknown key; did you mean "token_env"?'] or "token_file" in found[0]
    assert "hunter2" not in found[0]


def test_a_door_to_the_world_may_be_left_open_in_so_many_words() -> None:
    config = made(sources=[{"http": {"listen": "0.0.0.0:9710", "allow_unauthenticated": True}}])
    assert config.endpoint.address.wildcard


def test_the_effective_configuration_can_be_loaded_again(tmp_path: Path) -> None:
    first = load(write(tmp_path, SAMPLE))
    second = load(write(tmp_path, describe(first)))
    assert describe(second) == describe(first)
    assert fingerprint(second) == fingerprint(first)


def test_the_fingerprint_follows_the_effective_configuration() -> None:
    assert fingerprint(made()) == fingerprint(made(model={"pane": {"every": "60s"}}))
    assert fingerprint(made()) != fingerprint(made(model={"pane": {"every": "61s"}}))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("models: [", "driftwarden.yaml:"),
        ("a: 1\na: 2\n", '"a" is given twice'),
        ("a: !!python/object:os.system {}\n", "tag"),
        ("\x00", "YAML"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert hint in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, binary):
        with pytest.raises(ConfigError):
            load(path)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(Config.model_fields)), inner),
    max_leaves=8,
)


@given(JUNK, JUNK, JUNK)
def test_no_document_makes_the_loader_raise_anything_but_a_config_error(a: object, b: object, c: object) -> None:
    with pytest.raises(ConfigError):
        parse_config({"models": [a, {"name": b}], "sources": [b, {"http": c}], "telemetry": c}, base=BASE, environ={})
