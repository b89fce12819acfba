"""Stop and resume: a stream that went through bytes goes on bit for bit, with open pages, tickets and half panes."""

from __future__ import annotations

import numpy as np
import pytest

from monitor import states
from monitor.decode import Decoder
from monitor.errors import StoreError
from monitor.report import Report
from monitor.streams import ModelStreams
from monitor.windows import PaneRule, Panes
from tests.monitor.streams_bench import model, rows, streams

BATCHES = [
    rows(330, seed, shift=1.0, new=0.2) if 12 <= seed < 30 else rows(330, seed, shift=0.15, missing=0.3 * (seed > 40))
    for seed in range(1, 60)
]
"""First a note, then a page and its ticket, then recovery, then another page; 330 rows leave panes half open."""


def _facts(reports: list[Report]) -> list[object]:
    return [
        (
            report.pane,
            report.mean_log_e,
            report.log_e.tobytes(),
            tuple(sorted((name, it.log_p.tobytes(), it.effect.tobytes()) for name, it in report.evidence.items())),
            tuple(one.as_dict().__repr__() for one in report.findings),
            report.recovered,
        )
        for report in reports
    ]


def _restored(it: ModelStreams, kept: dict[str, list[bytes]]) -> ModelStreams:
    fresh = ModelStreams(it.model, it.fitted, config_id="test", timer=lambda: 0.0)
    fresh.restore(it.state(), lambda key: kept[key])
    return fresh


@pytest.fixture(scope="module")
def straight() -> tuple[ModelStreams, list[object]]:
    it = streams(model(alarms={"false_alarms": "1 per 1000 panes", "hold": 3}))
    reports = [report for batch in BATCHES for report in it.feed(batch, "", 0.0).reports]
    severities = {one.severity for report in reports for one in report.findings}
    assert severities >= {"page", "ticket", "info"}
    assert any(report.recovered for report in reports)
    return it, _facts(reports)


@pytest.mark.parametrize("every", [1, 7, 20])
def test_stream_resumed_from_bytes_continues_bit_for_bit(
    straight: tuple[ModelStreams, list[object]], every: int
) -> None:
    original, wanted = straight
    it = ModelStreams(original.model, original.fitted, config_id="test", timer=lambda: 0.0)
    kept: dict[str, list[bytes]] = {"m/all": []}
    got: list[object] = []
    for number, batch in enumerate(BATCHES):
        if number % every == every - 1:
            it = _restored(it, kept)
        reports = list(it.feed(batch, "", 0.0).reports)
        got += _facts(reports)
        stream = it.streams["all"]
        kept["m/all"] += [states.pack_pane(pane) for pane in stream.closed]
        stream.closed.clear()
    assert got == wanted


def test_pane_survives_its_bytes() -> None:
    it = streams()
    it.feed(BATCHES[0], "", 5.0)
    (pane,) = it.streams["all"].closed
    again = states.unpack_pane(it.engine.reference.grid.id, states.pack_pane(pane))
    assert (again.number, again.start, again.end) == (pane.number, pane.start, pane.end)
    for name in ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums", "mix"):
        np.testing.assert_array_equal(getattr(again.summary, name), getattr(pane.summary, name))


def test_samples_of_a_pane_survive_its_bytes() -> None:
    it = streams()
    views = it.fitted.reference.views
    panes = Panes(it.engine.reference.grid, PaneRule(None, 100, 0.0), views * 2, 50)
    block = Decoder(it.fitted.plan, it.engine.reference.grid, it.fitted.vocabularies).decode(BATCHES[0]).block
    for pane in panes.add(block, 0.0)[0]:
        again = states.unpack_pane(it.engine.reference.grid.id, states.pack_pane(pane))
        assert len(again.samples) == 2 * len(views)
        for one, other in zip(pane.samples, again.samples, strict=True):
            for a, b in ((one.rows, other.rows), (one.run, other.run), (one.strata, other.strata)):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def test_equal_states_give_equal_bytes() -> None:
    blobs = []
    for _ in range(2):
        it = streams()
        for batch in BATCHES[:15]:
            it.feed(batch, "", 0.0)
        blobs.append(it.state())
    assert blobs[0] == blobs[1]


def test_damaged_state_is_refused_with_the_fix() -> None:
    it = streams()
    it.feed(BATCHES[0], "", 0.0)
    blob = bytearray(it.state()["m/all"])
    blob[len(blob) // 2] ^= 0xFF
    with pytest.raises(StoreError, match="damaged"):
        streams().restore({"m/all": bytes(blob)}, lambda _: [])


def test_state_of_another_model_is_left_alone() -> None:
    it = streams()
    it.restore({"other/all": b"not even npz"}, lambda _: [])
    assert not it.streams
