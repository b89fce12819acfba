"""The door: bounded in bytes, honest in its books, and safe before it says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.envelope import ARROW, BATCH, NDJSON, Delivery, Limits, batches, encode
from monitor.errors import QueueFull, UnknownModel
from monitor.intake import Draining, Intake, Policy
from monitor.ledger import Ledger
from monitor.offer import Offer
from monitor.spool import Spool, SpoolFailed

SPOOL_BYTES = 8 << 20


def make(folder: Path | None = None, capacity: int = 1000, models: tuple[str, ...] = ("credit", "fraud")) -> Intake:
    spool = Spool(folder, SPOOL_BYTES) if folder is not None else None
    return Intake(models=models, capacity_bytes=capacity, ledger=Ledger(), spool=spool)


def shut(intake: Intake) -> None:
    if intake.spool is not None:
        intake.spool.close()


@pytest.fixture(params=["memory", "durable"])
def intake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Intake]:
    made = make(tmp_path / "spool" if request.param == "durable" else None)
    made.recover(0)
    yield made
    shut(made)


def put(intake: Intake, rows: int = 10, size: int = 100, model: str = "credit", **more: Any) -> None:
    how = {name: more.pop(name) for name in ("policy", "patience") if name in more}
    intake.accept(Offer("http", model, NDJSON, b'{"a":1}\n' * rows, rows, size, **more), **how)


def get(intake: Intake) -> Delivery:
    delivery = intake.take(10)
    assert delivery is not None
    return delivery


def balanced(intake: Intake, in_hand: int = 0) -> None:
    """The law: received = processed + discarded + buffered."""
    snapshot, queued = intake.books()
    assert sum(account.outstanding_rows for account in snapshot.accounts.values()) == queued + in_hand


def test_deliveries_come_out_as_they_went_in(intake: Intake) -> None:
    put(intake, 3, version="v7")
    put(intake, 4, model="fraud")
    first, second = get(intake), get(intake)
    assert (first.sequence, first.model, first.version, first.rows, first.size) == (1, "credit", "v7", 3, 100)
    assert (second.sequence, second.model, second.payload) == (2, "fraud", b'{"a":1}\n' * 4)
    assert intake.take(0) is None


def test_bytes_are_charged_until_the_engine_is_done(intake: Intake) -> None:
    put(intake, size=300)
    put(intake, size=400)
    assert (intake.queued_bytes, intake.queued_rows, intake.queued_batches) == (700, 20, 2)
    delivery = get(intake)
    assert (intake.queued_bytes, intake.queued_rows) == (700, 10)
    intake.done(delivery)
    assert intake.queued_bytes == 400


def test_a_full_queue_refuses_with_a_hint(intake: Intake) -> None:
    put(intake, size=600)
    with pytest.raises(QueueFull, match=r"queue\.bytes \(1000\)") as caught:
        put(intake, size=500)
    assert caught.value.retry_after > 0
    intake.done(get(intake))
    put(intake, size=500)
    balanced(intake, in_hand=10)


def test_one_delivery_larger_than_the_queue_passes_when_it_is_empty(intake: Intake) -> None:
    put(intake, size=5000)
    with pytest.raises(QueueFull):
        put(intake, size=1)


def test_drop_oldest_sheds_the_oldest_and_counts_its_rows(intake: Intake) -> None:
    for rows in (1, 2, 3):
        put(intake, rows, size=400, policy="drop_oldest")
    account = intake.ledger.snapshot().accounts["http", "credit"]
    assert account.discarded_rows["queue_full"] == 1
    assert account.received_rows == 6
    assert [get(intake).rows, get(intake).rows] == [2, 3]


def test_drop_oldest_sheds_the_newcomer_when_the_engine_holds_everything(intake: Intake) -> None:
    put(intake, 5, size=900)
    held = get(intake)
    put(intake, 7, size=900, policy="drop_oldest")
    assert intake.queued_rows == 0
    assert intake.ledger.snapshot().accounts["http", "credit"].discarded_rows["queue_full"] == 7
    balanced(intake, in_hand=5)
    intake.done(held)
    put(intake, 7, size=900, policy="drop_oldest")
    assert get(intake).rows == 7


def test_an_unknown_model_is_named_with_those_that_are_known(intake: Intake) -> None:
    with pytest.raises(UnknownModel, match='"kredit"; configured under models: credit, fraud'):
        put(intake, model="kredit")
    intake.refuse("http", "kredit", UnknownModel(""))
    assert ("http", "kredit") not in intake.ledger.snapshot().accounts
    assert intake.ledger.snapshot().accounts["http", ""].refused_requests["unknown_model"] == 1


def test_models_can_come_and_go(intake: Intake) -> None:
    intake.admit(["kredit"])
    put(intake, model="kredit")
    with pytest.raises(UnknownModel):
        put(intake)


def test_a_patient_source_waits_for_room(intake: Intake) -> None:
    put(intake, size=900)
    sender = threading.Thread(target=put, args=(intake, 8, 900), kwargs={"patience": 30.0})
    sender.start()
    intake.done(get(intake))
    sender.join(30)
    assert not sender.is_alive()
    assert get(intake).rows == 8


def test_a_closed_intake_refuses_and_lets_the_rest_out(intake: Intake) -> None:
    put(intake)
    intake.close()
    with pytest.raises(Draining) as caught:
        put(intake)
    assert caught.value.status == 503
    assert not intake.drained
    intake.done(get(intake))
    assert intake.drained
    assert intake.take(3600) is None


def test_closing_wakes_who_waits() -> None:
    intake = make()
    results: list[Delivery | None] = []
    taker = threading.Thread(target=lambda: results.append(intake.take(3600)))
    taker.start()
    intake.close()
    taker.join(30)
    assert results == [None]


def test_an_event_loop_awaits_the_disk(intake: Intake) -> None:
    async def send(rows: int) -> None:
        await intake.accept_async(Offer("http", "credit", NDJSON, b"{}", rows, 2))

    async def everybody() -> None:
        await asyncio.gather(*(send(rows) for rows in range(1, 51)))
        with pytest.raises(UnknownModel):
            await intake.accept_async(Offer("http", "x", NDJSON, b"{}", 1, 2))

    asyncio.run(everybody())
    assert [get(intake).rows for _ in range(50)] == list(range(1, 51))


def test_a_sender_that_went_away_does_not_disturb_the_others(tmp_path: Path) -> None:
    intake = make(tmp_path)

    async def leave() -> None:
        task = asyncio.ensure_future(intake.accept_async(Offer("http", "credit", NDJSON, b"{}", 1, 2)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    put(intake, 2)
    assert [get(intake).rows, get(intake).rows] == [1, 2]
    shut(intake)


def test_a_batch_stays_in_memory_and_lies_on_disk_as_a_stream(tmp_path: Path) -> None:
    batch = pa.record_batch({"a": [1, 2, 3]})
    intake = make(tmp_path)
    intake.accept(Offer("flight", "credit", BATCH, batch, 3, batch.nbytes))
    delivery = get(intake)
    assert delivery.payload is batch
    shut(intake)
    again = make(tmp_path)
    assert again.recover(0) == 3
    delivery = get(again)
    assert (delivery.format, bytes(delivery.payload)) == (ARROW, bytes(encode(batch)))
    found = list(batches(delivery, Limits(), lambda *_: None))
    assert found[0].equals(batch)
    shut(again)


def test_rows_that_their_source_can_read_again_are_not_spooled_but_keep_their_place(tmp_path: Path) -> None:
    intake = make(tmp_path)
    put(intake, 1)
    put(intake, 2, position={"directory:logs": {"a.jsonl": [1, 2, 3]}})
    put(intake, 3)
    deliveries = [get(intake) for _ in range(3)]
    assert [delivery.sequence for delivery in deliveries] == [1, 2, 3]
    assert deliveries[1].position == {"directory:logs": {"a.jsonl": [1, 2, 3]}}
    shut(intake)
    again = make(tmp_path)
    assert again.recover(0) == 4
    shut(again)


def test_a_recovered_backlog_takes_no_memory_and_comes_before_the_new(tmp_path: Path) -> None:
    intake = make(tmp_path, capacity=1000)
    for rows in range(1, 9):
        put(intake, rows, size=100)
    shut(intake)
    again = make(tmp_path, capacity=100)
    assert again.recover(3) == 4 + 5 + 6 + 7 + 8
    assert again.queued_bytes == 0
    put(again, 9)
    assert [get(again).rows for _ in range(6)] == [4, 5, 6, 7, 8, 9]
    shut(again)


def test_a_model_that_left_the_configuration_is_a_counted_discard_at_recovery(tmp_path: Path) -> None:
    intake = make(tmp_path)
    put(intake, 6)
    shut(intake)
    again = make(tmp_path, models=("fraud",))
    again.recover(0)
    assert again.take(0) is None
    assert again.ledger.snapshot().accounts["http", "credit"].discarded_rows["unknown_model"] == 6
    balanced(again)
    shut(again)


def test_a_payload_that_vanished_from_disk_is_a_counted_discard(tmp_path: Path) -> None:
    intake = make(tmp_path)
    put(intake, 6)
    shut(intake)
    again = make(tmp_path)
    again.recover(0)
    for segment in tmp_path.iterdir():
        segment.unlink()
    assert again.take(0) is None
    assert again.ledger.snapshot().accounts["http", "credit"].discarded_rows["decode_error"] == 6
    shut(again)


def test_a_disk_that_fails_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = make(tmp_path)

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(SpoolFailed, match="Input/output error") as caught:
        put(intake)
    assert caught.value.status == 503
    assert (intake.queued_rows, intake.queued_bytes) == (0, 0)
    balanced(intake)
    shut(intake)


def test_a_full_disk_is_shed_by_the_policy(tmp_path: Path) -> None:
    intake = Intake(models=["credit"], capacity_bytes=1 << 20, ledger=Ledger(), spool=Spool(tmp_path, 15_000))
    put(intake, 1)
    with pytest.raises(SpoolFailed):
        put(intake, 300, size=4000)
    put(intake, 300, size=4000, policy="drop_oldest")
    assert intake.ledger.snapshot().accounts["http", "credit"].discarded_rows["queue_full"] == 300
    balanced(intake)
    assert intake.queued_bytes == 100
    shut(intake)


@pytest.mark.parametrize("policy", ["reject", "drop_oldest"])
def test_the_books_of_a_checkpoint_go_on_after_kill_9(tmp_path: Path, policy: Policy) -> None:
    """Crash after any number of steps: the restored books and the recovered rows balance."""
    for crash in range(12):
        folder = tmp_path / f"{policy}{crash}"
        intake = make(folder, capacity=500)
        intake.recover(0)
        saved: tuple[int, dict[str, Any]] = (0, {})
        chooser = np.random.default_rng(crash)
        for _ in range(5 + crash):
            try:
                put(intake, int(chooser.integers(1, 10)), policy=policy)
            except QueueFull as refusal:
                intake.refuse("http", "credit", refusal)
            if chooser.random() < 0.5 and (delivery := intake.take(0)) is not None:
                intake.ledger.processed(delivery.source, delivery.model, delivery.rows)
                intake.done(delivery)
                if chooser.random() < 0.5:
                    saved = delivery.sequence, json.loads(json.dumps(intake.ledger_state(delivery.sequence)))
                    intake.settled(delivery.sequence)
            balanced(intake)
        again = make(folder, capacity=500)  # the first one is simply gone
        again.ledger.restore(saved[1])
        assert again.recover(saved[0]) == again.queued_rows
        balanced(again)
        while (delivery := again.take(0)) is not None:
            assert delivery.sequence > saved[0]
            again.done(delivery)
        shut(again)
        shut(intake)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "shed", "take", "done"]), st.integers(0, 20), st.integers(1, 700), st.booleans()
        ),
        max_size=40,
    )
)
def test_rows_are_conserved_whatever_happens(steps: list[tuple[str, int, int, bool]]) -> None:
    intake = make()
    hand: list[Delivery] = []
    for step, rows, size, flag in steps:
        if step in ("put", "shed"):
            policy: Policy = "reject" if step == "put" else "drop_oldest"
            with contextlib.suppress(QueueFull):
                put(intake, rows, size, "credit" if flag else "fraud", policy=policy)
        elif step == "take" and (taken := intake.take(0)) is not None:
            hand.append(taken)
        elif step == "done" and hand:
            delivery = hand.pop(0)
            intake.ledger.processed(delivery.source, delivery.model, delivery.rows)
            intake.done(delivery)
        balanced(intake, sum(delivery.rows for delivery in hand))
        assert intake.queued_bytes <= max(1000, *(size for _, _, size, _ in steps))


def test_threads_conserve_rows_in_durable_mode(tmp_path: Path) -> None:
    intake = make(tmp_path, capacity=3000)
    taken: list[int] = []

    def send(policy: Policy) -> None:
        for _ in range(60):
            try:
                put(intake, 3, policy=policy)
            except QueueFull:
                continue

    threads = [threading.Thread(target=send, args=(policy,)) for policy in ("reject", "drop_oldest", "reject")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or intake.queued_rows:
        if (delivery := intake.take(0.01)) is not None:
            taken.append(delivery.sequence)
            intake.ledger.processed(delivery.source, delivery.model, delivery.rows)
            intake.done(delivery)
            intake.settled(delivery.sequence)
    assert taken == sorted(taken)
    balanced(intake)
    assert intake.queued_bytes == 0
    shut(intake)
