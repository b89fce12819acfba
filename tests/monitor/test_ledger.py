"""The books: closed lists, sums that agree, and counters that a restart goes on with."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.ledger import ACK_SECONDS, REASONS, REFUSALS, Ledger, Receipt
from monitor.metrics import METRICS

KEY = ("http", "credit")


def test_accounts_named_at_the_start_are_there_at_zero() -> None:
    account = Ledger([KEY]).snapshot().accounts[KEY]
    assert account.received_rows == account.outstanding_rows == 0
    assert dict(account.discarded_rows) == dict.fromkeys(REASONS, 0)
    assert dict(account.refused_requests) == dict.fromkeys(REFUSALS, 0)


def test_received_is_processed_discarded_and_outstanding() -> None:
    ledger = Ledger()
    ledger.received(*KEY, 100, 4096)
    ledger.processed(*KEY, 60)
    ledger.discarded(*KEY, "late", 15)
    account = ledger.snapshot().accounts[KEY]
    assert (account.received_rows, account.received_batches, account.received_bytes) == (100, 1, 4096)
    assert account.outstanding_rows == 25


def test_refused_rows_were_never_received() -> None:
    ledger = Ledger()
    ledger.refused(*KEY, "queue_full", 7)
    account = ledger.snapshot().accounts[KEY]
    assert account.refused_requests["queue_full"] == 1
    assert account.refused_rows["queue_full"] == 7
    assert account.received_rows == account.outstanding_rows == 0


def test_reasons_come_from_the_closed_lists() -> None:
    ledger = Ledger()
    with pytest.raises(ValueError, match="`reason` is 'boring'; use one of late"):
        ledger.discarded(*KEY, "boring", 1)
    with pytest.raises(ValueError, match="`reason` is 'boring'; use one of malformed"):
        ledger.refused(*KEY, "boring")


def test_a_snapshot_does_not_move() -> None:
    ledger = Ledger([KEY])
    before = ledger.snapshot()
    ledger.received(*KEY, 1, 1)
    assert before.accounts[KEY].received_rows == 0


def test_a_restart_goes_on_counting() -> None:
    ledger = Ledger()
    ledger.received(*KEY, 10, 100)
    ledger.discarded(*KEY, "schema", 3)
    ledger.refused(*KEY, "too_large", 2)
    after = Ledger([KEY, ("flight", "credit")])
    after.restore(json.loads(json.dumps(ledger.state())))
    after.processed(*KEY, 7)
    account = after.snapshot().accounts[KEY]
    assert (account.received_rows, account.outstanding_rows) == (10, 0)
    assert account.refused_rows["too_large"] == 2


def test_counters_of_another_version_are_left_behind() -> None:
    ledger = Ledger()
    ledger.restore({"accounts": [["http", "credit", {"received_rows": 5, "discarded:of_old": 4}]]})
    assert ledger.snapshot().accounts[KEY].outstanding_rows == 5
    ledger.restore({})


def test_what_came_after_the_checkpoint_is_left_out_of_it() -> None:
    ledger = Ledger()
    ledger.received(*KEY, 10, 100)
    ledger.processed(*KEY, 10)
    ledger.received(*KEY, 5, 50)
    ledger.received(*KEY, 3, 30)
    ledger.discarded(*KEY, "queue_full", 3)
    receipts = [Receipt(KEY, 5, 50, discarded=False), Receipt(KEY, 3, 30, discarded=True)]
    restored = Ledger()
    restored.restore(ledger.state(receipts))
    account = restored.snapshot().accounts[KEY]
    assert (account.received_rows, account.received_batches, account.received_bytes) == (10, 1, 100)
    assert account.outstanding_rows == account.discarded_rows["queue_full"] == 0


def test_acknowledgements_fill_the_buckets_that_the_metric_shows() -> None:
    ledger = Ledger([KEY])
    for seconds in (0.0001, ACK_SECONDS[3], 99.0):
        ledger.acknowledged("http", seconds)
    acks = ledger.snapshot().acknowledgements["http"]
    assert len(acks.counts) == len(ACK_SECONDS) + 1
    assert (acks.counts[0], acks.counts[3], acks.counts[-1], sum(acks.counts)) == (1, 1, 1, 3)
    assert acks.seconds == pytest.approx(99.0001 + ACK_SECONDS[3])
    metric = next(metric for metric in METRICS if metric.name == "driftwarden_ingest_ack_duration_seconds")
    assert metric.buckets == ACK_SECONDS


def test_threads_do_not_lose_a_row() -> None:
    ledger = Ledger()

    def work() -> None:
        for _ in range(2000):
            ledger.received(*KEY, 1, 1)
            ledger.processed(*KEY, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account = ledger.snapshot().accounts[KEY]
    assert account.received_rows == account.processed_rows == 8000


@given(
    st.lists(st.tuples(st.sampled_from(["http", "flight"]), st.integers(0, 9), st.sampled_from(REASONS)), max_size=20)
)
def test_saving_and_restoring_changes_nothing(entries: list[tuple[str, int, str]]) -> None:
    ledger = Ledger()
    for source, rows, reason in entries:
        ledger.received(source, "m", rows, rows)
        ledger.discarded(source, "m", reason, rows)
    again = Ledger()
    again.restore(ledger.state())
    assert again.snapshot().accounts == ledger.snapshot().accounts
