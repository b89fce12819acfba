"""What the joint detectors measured is kept with the artefact, and is what they would measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor import artefact
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.prepared import KINDS, deep, flat, prepared
from monitor.streams import ModelStreams
from tests.monitor.streams_bench import model, rows


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return measure_batches([rows(6_000, 0)], model())


def test_measurements_come_back_bit_for_bit(fitted: Fitted, tmp_path: Path) -> None:
    made = prepared(fitted, model())
    artefact.write(made, tmp_path / "art")
    (before,), (after,) = made.reference.views, artefact.load(tmp_path / "art").reference.views
    assert after.measured.keys() == KINDS.keys()
    wanted, got = flat(before.measured), flat(after.measured)
    assert wanted.keys() == got.keys()
    for path, array in wanted.items():
        assert array.dtype == got[path].dtype, path
        np.testing.assert_array_equal(array, got[path], path)


def test_the_engine_takes_them_and_judges_as_without(fitted: Fitted) -> None:
    said = []
    for one in (fitted, prepared(fitted, model())):
        it = ModelStreams(model(), one, config_id="test", timer=lambda: 0.0)
        if one.reference.views[0].measured:
            assert it.engine.joint.fixed[0] is one.reference.views[0].measured["e_witness"]
        reports = it.feed(rows(4_000, 1, shift=0.4), "", 0.0).reports
        said.append([report.joint["e_witness"].log_e.tobytes() for report in reports if "e_witness" in report.joint])
        said[-1] += [report.joint["joint_min_p"].log_p.tobytes() for report in reports if "joint_min_p" in report.joint]
    assert said[0] == said[1]


def test_measurements_of_another_version_are_made_anew(fitted: Fitted) -> None:
    arrays = flat(prepared(fitted, model()).reference.views[0].measured)
    assert deep(arrays).keys() == KINDS.keys()
    del arrays["e_witness/tau"]
    arrays["joint_min_p/spectral/more"] = np.zeros(1)
    assert deep(arrays) == {}
