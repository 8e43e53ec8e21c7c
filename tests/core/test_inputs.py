"""Numbered inputs: each taken once and in order, whatever a client sends again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from terminal_service.inputs import CLIENTS_LIMIT, InputLedger, Verdict


def test_inputs_are_taken_in_order_from_one() -> None:
    ledger = InputLedger()
    assert ledger.offer("a", 2) is Verdict.OUT_OF_ORDER
    assert ledger.offer("a", 1) is Verdict.TAKE
    assert ledger.offer("a", 1) is Verdict.REPEATED
    assert ledger.offer("a", 3) is Verdict.OUT_OF_ORDER
    assert ledger.offer("a", 2) is Verdict.TAKE
    assert ledger.offer("b", 1) is Verdict.TAKE, "each client counts for itself"
    assert (ledger.count("a").taken, ledger.count("a").written) == (2, 0)
    ledger.mark_written("a", 1)
    assert (ledger.count("a").taken, ledger.count("a").written) == (2, 1)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12)), max_size=100))
def test_any_pattern_of_resending_takes_each_once_in_order(sent: list[tuple[str, int]]) -> None:
    ledger = InputLedger()
    taken: dict[str, list[int]] = {"a": [], "b": []}
    for client, number in sent:
        verdict = ledger.offer(client, number)
        if verdict is Verdict.TAKE:
            taken[client].append(number)
        assert (verdict is Verdict.OUT_OF_ORDER) == (number > len(taken[client]) + (verdict is Verdict.OUT_OF_ORDER))
    for numbers in taken.values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_only_clients_that_type_are_remembered_and_the_oldest_is_forgotten() -> None:
    ledger = InputLedger()
    ledger.offer("typist", 1)
    for number in range(2 * CLIENTS_LIMIT):
        ledger.count(f"onlooker {number}")
        ledger.offer(f"stranger {number}", 7)
    assert ledger.offer("typist", 1) is Verdict.REPEATED
    for number in range(CLIENTS_LIMIT):
        ledger.offer(f"other {number}", 1)
    assert ledger.count("typist").taken == 0
    assert ledger.count(f"other {CLIENTS_LIMIT - 1}").taken == 1


def test_what_was_written_stays_written_for_a_client_forgotten_meanwhile() -> None:
    ledger = InputLedger()
    ledger.offer("typist", 1)
    for number in range(CLIENTS_LIMIT):
        ledger.offer(f"other {number}", 1)
    ledger.mark_written("typist", 1)
    assert ledger.offer("typist", 1) is Verdict.REPEATED
