"""Kinds by inference, roles by configuration, and what a wrong role is told."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from monitor.errors import ConfigError
from monitor.schema import Facts, Kind, Plan, Roles, build, check_roles, code_type, family, plain_type


def kind_of(arrow: pa.DataType, facts: Facts | None = None) -> Kind:
    plan = build(pa.schema([("x", arrow)]), Roles(), {"x": facts} if facts else {})
    return plan.columns[0].kind


@pytest.mark.parametrize(
    ("arrow", "kind"),
    [
        (pa.float64(), Kind.NUMERIC),
        (pa.float16(), Kind.NUMERIC),
        (pa.decimal128(10, 2), Kind.NUMERIC),
        (pa.duration("ms"), Kind.NUMERIC),
        (pa.null(), Kind.NUMERIC),
        (pa.int64(), Kind.NUMERIC),
        (pa.string(), Kind.CATEGORICAL),
        (pa.large_string(), Kind.CATEGORICAL),
        (pa.string_view(), Kind.CATEGORICAL),
        (pa.dictionary(pa.int8(), pa.string()), Kind.CATEGORICAL),
        (pa.run_end_encoded(pa.int32(), pa.string()), Kind.CATEGORICAL),
        (pa.bool_(), Kind.BOOLEAN),
        (pa.timestamp("us", "UTC"), Kind.TIMESTAMP),
        (pa.date32(), Kind.TIMESTAMP),
        (pa.time64("us"), Kind.TIMESTAMP),
        (pa.list_(pa.float32(), 8), Kind.VECTOR),
        (pa.list_(pa.float32()), Kind.OTHER),
        (pa.list_(pa.string(), 2), Kind.OTHER),
        (pa.struct([("a", pa.int64())]), Kind.OTHER),
        (pa.map_(pa.string(), pa.int64()), Kind.OTHER),
        (pa.binary(), Kind.OTHER),
        (pa.month_day_nano_interval(), Kind.OTHER),
    ],
)
def test_the_arrow_type_decides_the_kind(arrow: pa.DataType, kind: Kind) -> None:
    assert kind_of(arrow) is kind


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (Facts(1000, 32), Kind.CATEGORICAL),
        (Facts(1000, 33), Kind.NUMERIC),
        (Facts(1000, None), Kind.NUMERIC),
        (Facts(6, 2), Kind.CATEGORICAL),
        (Facts(5, 2), Kind.NUMERIC),
        (Facts(1, 1), Kind.NUMERIC),
        (Facts(0, 0), Kind.NUMERIC),
    ],
)
def test_an_integer_is_a_code_when_few_values_repeat(facts: Facts, kind: Kind) -> None:
    assert kind_of(pa.int32(), facts) is kind


def test_roles_decide_what_is_monitored() -> None:
    names = ["ts", "id", "who", "pred", "score", "y", "version", "region", "emb", "zip", "note", "plain"]
    types = [pa.int64(), pa.string(), pa.string(), pa.string(), pa.float64(), pa.int64(), pa.string(), pa.int64()]
    types += [pa.list_(pa.float32(), 4), pa.int64(), pa.string(), pa.string()]
    roles = Roles(
        time="ts", id="id", client="who", prediction="pred", score="score", label="y", version="version",
        segments=("region",), embeddings=("emb",), categorical=("zip",), ignore=("note",),
    )  # fmt: skip
    plan = build(pa.schema(list(zip(names, types, strict=True))), roles, {})
    assert plan.numeric == ("score",)
    assert plan.categorical == ("pred", "region", "zip", "plain")
    by_name = {column.name: column for column in plan.columns}
    assert by_name["ts"].role == "time"
    assert by_name["emb"].kind is Kind.VECTOR
    assert "ignored" in by_name["note"].note
    assert all(column.note for column in plan.columns if not column.monitored)


def test_a_forced_kind_wins_over_inference_except_for_nested_values() -> None:
    schema = pa.schema([("f", pa.float64()), ("s", pa.string()), ("n", pa.list_(pa.int64()))])
    plan = build(schema, Roles(categorical=("f", "n"), numeric=("s",)), {})
    assert plan.numeric == ("s",)
    assert plan.categorical == ("f",)
    assert "cannot be categorical" in plan.columns[2].note


def test_all_wrong_roles_are_named_at_once_with_the_nearest_column() -> None:
    with pytest.raises(ConfigError) as caught:
        check_roles(["amount", "region"], Roles(prediction="yhat", time="amonut", segments=("regoin",)))
    faults = caught.value.faults
    assert len(faults) == 3
    assert any('columns.time: no column "amonut"' in f and 'did you mean "amount"?' in f for f in faults)
    assert any('columns.segments: no column "regoin"' in f and '"region"' in f for f in faults)
    assert any("columns.prediction" in f and "there are: amount, region" in f for f in faults)


def test_bookkeeping_roles_may_be_absent_from_the_reference() -> None:
    roles = Roles(time="ts", id="request", client="caller", label="outcome", version="release", ignore=("debug",))
    check_roles(["amount", "region"], roles)
    plan = build(pa.schema([("amount", pa.float64())]), roles, {})
    assert "not in the reference" in {c.name: c.note for c in plan.columns}["ts"]
    assert plan.numeric == ("amount",)


@pytest.mark.parametrize(
    "roles",
    [
        Roles(categorical=("a",), numeric=("a",)),
        Roles(ignore=("a",), prediction="a"),
        Roles(ignore=("a",), segments=("a",)),
        Roles(numeric=("a",), segments=("a",)),
    ],
)
def test_contradicting_roles_are_refused(roles: Roles) -> None:
    with pytest.raises(ConfigError, match="`a`"):
        check_roles(["a", "b"], roles)


def test_a_column_name_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than once"):
        check_roles(["a", "b", "a"], Roles())


def test_a_plan_survives_json() -> None:
    schema = pa.schema([("ts", pa.timestamp("s")), ("x", pa.float64()), ("c", pa.string())])
    plan = build(schema, Roles(time="ts", segments=("c",)), {})
    assert Plan.of(json.loads(json.dumps(plan.document()))) == plan


def test_wrapped_types_belong_to_the_family_of_their_values() -> None:
    wrapped = pa.dictionary(pa.int8(), pa.large_string())
    assert plain_type(wrapped) == pa.large_string()
    assert family(wrapped) == "text"
    assert code_type(wrapped) == pa.string()
    assert code_type(pa.uint64()) == pa.uint64()
    assert code_type(pa.float32(), integral=True) == pa.int64()
