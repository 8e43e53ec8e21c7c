"""The journal: what the next process knows of input and activity, whenever this one was killed."""

from __future__ import annotations

import pytest

from support.words import make_words
from terminal_service.journal import BOOT, CLIENTS_LIMIT, ITEMS_LIMIT, JOURNAL_WORDS, SOURCES, Journal


@pytest.fixture
def words() -> memoryview:
    return make_words()


def next_process(words: memoryview, written: int) -> Journal:
    """Return what another process makes of the words, and yet another: asking again changes nothing."""
    for _ in range(2):
        journal = Journal(words)
        journal.settle(written)
    return journal


def test_a_new_journal_knows_nothing(words: memoryview) -> None:
    journal = next_process(words, 0)
    assert journal.written_number("ann") == 0
    assert journal.activity is None


def test_words_of_an_unknown_version_say_nothing(words: memoryview) -> None:
    Journal(words).finish("ann", 3)
    words[0] = 99
    assert Journal(words).written_number("ann") == 0
    assert words[0] == 2
    assert not any(words[2:])


def test_memory_of_another_shape_is_refused() -> None:
    with pytest.raises(AssertionError):
        Journal(memoryview(bytearray(8)).cast("Q"))
    with pytest.raises(AssertionError):
        Journal(memoryview(bytearray(JOURNAL_WORDS)))


def test_finished_inputs_are_known_to_the_next_process(words: memoryview) -> None:
    journal = Journal(words)
    assert journal.begin("ann", 1, 4, 0) == 0
    journal.finish("ann", 1)
    assert journal.begin("bob", 1, 2, 4) == 0
    journal.finish("bob", 1)
    assert journal.begin("ann", 2, 1, 6) == 0
    journal.finish("ann", 2)
    journal = next_process(words, 7)
    assert [journal.written_number(client) for client in ("ann", "bob", "cleo")] == [2, 1, 0]


@pytest.mark.parametrize(("taken", "number", "left_out"), [(0, 4, 0), (1, 4, 1), (9, 4, 9), (10, 5, 10)])
def test_an_unfinished_item_is_what_the_terminal_took_of_it(
    words: memoryview, taken: int, number: int, left_out: int
) -> None:
    journal = Journal(words)
    journal.finish("ann", 4)
    journal.begin("ann", 5, 10, 1000)
    journal = next_process(words, 1000 + taken)
    assert journal.written_number("ann") == number
    assert journal.begin("ann", 5, 10, 1000 + taken) == left_out


def test_a_half_taken_item_stays_so_over_other_input_and_other_deaths(words: memoryview) -> None:
    Journal(words).begin("ann", 1, 10, 0)
    journal = next_process(words, 4)
    assert journal.begin("bob", 1, 6, 4) == 0
    journal = next_process(words, 7)  # half of bob's too
    journal = next_process(words, 27)  # what has no number came between
    assert journal.begin("ann", 1, 10, 27) == 4
    journal = next_process(words, 29)  # two more of it
    assert journal.begin("bob", 1, 6, 29) == 3
    journal.finish("bob", 1)
    assert journal.begin("ann", 1, 10, 32) == 6
    journal.finish("ann", 1)
    journal = next_process(words, 36)
    assert (journal.written_number("ann"), journal.written_number("bob")) == (1, 1)
    assert journal.begin("ann", 2, 10, 36) == 0


def test_a_shorter_item_sent_again_is_written_as_far_as_it_goes(words: memoryview) -> None:
    Journal(words).begin("ann", 1, 10, 0)
    journal = next_process(words, 4)
    assert journal.begin("ann", 1, 3, 4) == 3
    assert next_process(words, 4).written_number("ann") == 1


def test_an_item_that_was_written_is_left_out_whole(words: memoryview) -> None:
    journal = Journal(words)
    journal.finish("ann", 5)
    assert journal.begin("ann", 5, 10, 50) == 10
    assert journal.begin("ann", 2, 10, 50) == 10
    assert next_process(words, 60).written_number("ann") == 5


@pytest.mark.parametrize("taken", range(13))
def test_many_items_may_be_on_their_way(words: memoryview, taken: int) -> None:
    """Each counts by itself, also where input without a number (a byte) lies between."""
    journal = Journal(words)
    items = [("ann", 1, 3, 0), ("bob", 1, 4, 3), ("ann", 2, 2, 8), ("ann", 3, 2, 10)]
    for client, number, total, start in items:
        assert journal.begin(client, number, total, start) == 0
    journal = next_process(words, taken)
    position = taken
    for client, number, total, start in items:
        arrived = min(max(taken - start, 0), total)
        assert (journal.written_number(client) >= number) is (arrived == total), (client, number)
        if arrived < total:
            assert journal.begin(client, number, total, position) == arrived
            position += total - arrived
            journal.finish(client, number)
    assert (journal.written_number("ann"), journal.written_number("bob")) == (3, 1)


def test_no_more_may_be_on_their_way_than_there_is_room_for(words: memoryview) -> None:
    journal = Journal(words)
    for number in range(1, ITEMS_LIMIT + 1):
        journal.begin("ann", number, 1, number - 1)
    with pytest.raises(AssertionError, match="too many"):
        journal.begin("ann", ITEMS_LIMIT + 1, 1, ITEMS_LIMIT)
    journal.finish("ann", 1)
    journal.begin("ann", ITEMS_LIMIT + 1, 1, ITEMS_LIMIT)
    assert next_process(words, ITEMS_LIMIT + 1).written_number("ann") == ITEMS_LIMIT + 1


def test_every_store_of_beginning_and_finishing_means_the_same(words: memoryview) -> None:
    """Whatever number of the stores was made before the kill, the next process knows what the terminal has."""
    journal = Journal(words)
    journal.finish("ann", 6)
    journal.begin("bob", 1, 5, 0)
    journal.finish("bob", 1)
    for number, client, total, start in ((7, "ann", 3, 5), (2, "bob", 4, 8)):
        for stores in range(12):
            copy = make_words()
            copy[:] = words
            tearing = Torn(copy, stores)
            Journal(tearing).begin(client, number, total, start)  # type: ignore[arg-type]
            after = next_process(copy, start)
            assert after.written_number(client) == number - 1, f"after {stores} stores of begin"
            assert after.begin(client, number, total, start) == 0
        journal.begin(client, number, total, start)
        for stores in range(6):
            copy = make_words()
            copy[:] = words
            Journal(Torn(copy, stores)).finish(client, number)  # type: ignore[arg-type]
            after = next_process(copy, start + total)
            assert after.written_number(client) == number, f"after {stores} stores of finish"
            assert after.begin(client, number + 1, 1, start + total) == 0
        journal.finish(client, number)


def test_every_store_of_resuming_an_item_means_the_same(words: memoryview) -> None:
    Journal(words).begin("ann", 1, 10, 0)
    next_process(words, 4)
    Journal(words).begin("bob", 1, 2, 4)
    Journal(words).finish("bob", 1)
    for stores in range(12):
        copy = make_words()
        copy[:] = words
        Journal(Torn(copy, stores)).begin("ann", 1, 10, 6)  # type: ignore[arg-type]
        assert next_process(copy, 6).begin("ann", 1, 10, 6) == 4, f"after {stores} stores of begin"
    Journal(words).begin("ann", 1, 10, 6)
    for stores in range(6):
        copy = make_words()
        copy[:] = words
        Journal(Torn(copy, stores)).finish("ann", 1)  # type: ignore[arg-type]
        after = next_process(copy, 12)
        assert after.written_number("ann") == 1, f"after {stores} stores of finish"
        assert after.begin("ann", 2, 10, 12) == 0


class Torn:
    """Words that take only so many stores: then their process is dead, and does not know it."""

    format = "Q"

    def __init__(self, words: memoryview, stores: int) -> None:
        self._words = words
        self._alive = words[:].tolist()
        self._left = stores

    def __len__(self) -> int:
        return len(self._alive)

    def __getitem__(self, index: int) -> int:
        value: int = self._alive[index]
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self._alive[index] = value
        if self._left > 0:
            self._left -= 1
            self._words[index] = value


def test_an_interrupt_that_may_have_been_made_counts_with_all_before_it(words: memoryview) -> None:
    journal = Journal(words)
    journal.begin("ann", 1, 10_000, 0)
    journal.begin_interrupt("ann", 3)
    journal = next_process(words, 4096)
    assert journal.written_number("ann") == 3
    assert journal.begin("ann", 4, 1, 4096) == 0


def test_an_interrupt_that_was_none_leaves_nothing(words: memoryview) -> None:
    journal = Journal(words)
    journal.begin_interrupt("ann", 1)
    journal.end_interrupt()
    assert next_process(words, 0).written_number("ann") == 0


def test_the_client_heard_of_longest_ago_is_forgotten_first(words: memoryview) -> None:
    journal = Journal(words)
    for index in range(CLIENTS_LIMIT):
        journal.finish(f"client {index}", index + 1)
    journal.begin("client 0", 2, 1, 0)
    journal.finish("client 0", 2)
    journal.finish("one more", 1)
    for known in (journal, next_process(words, 1)):
        numbers = [known.written_number(f"client {index}") for index in range(CLIENTS_LIMIT)]
        assert numbers == [2, 0, *range(3, CLIENTS_LIMIT + 1)]
        assert known.written_number("one more") == 1


def test_the_item_being_written_keeps_its_place_whoever_comes(words: memoryview) -> None:
    journal = Journal(words)
    journal.begin("stuck", 1, 10, 0)
    for index in range(2 * CLIENTS_LIMIT):
        journal.begin_interrupt(f"client {index}", 1)
        journal.end_interrupt()
    journal = next_process(words, 4)
    assert journal.begin("stuck", 1, 10, 4) == 4


def test_one_who_was_forgotten_goes_on_with_later_numbers(words: memoryview) -> None:
    journal = Journal(words)
    journal.begin("ann", 8, 10, 0)
    journal = next_process(words, 4)
    assert journal.written_number("ann") == 7
    assert journal.begin("ann", 8, 10, 4) == 4


@pytest.mark.parametrize("source", SOURCES)
def test_activity_lasts_to_the_microsecond(words: memoryview, source: str) -> None:
    journal = Journal(words)
    journal.note_created(1_234.25)
    journal.note_activity(7_654_321.123456, source)
    activity = Journal(words).activity
    assert activity is not None
    assert activity.created == 1_234.25
    assert activity.bumped == pytest.approx(7_654_321.123456, abs=1e-6)
    assert activity.source == source


def test_the_clock_of_an_earlier_run_of_the_machine_says_nothing(words: memoryview) -> None:
    journal = Journal(words)
    journal.note_created(1.0)
    journal.note_activity(2.0, "input")
    journal.finish("ann", 1)
    later = Journal(words, boot=BOOT ^ 1)
    assert later.activity is None
    assert later.written_number("ann") == 1
    assert Journal(words).activity is None, "nor does it come back"


def test_it_moves_to_other_memory_with_the_same_content(words: memoryview) -> None:
    journal = Journal(words)
    journal.begin("ann", 1, 2, 0)
    journal.finish("ann", 1)
    other = make_words()
    other[:] = words
    journal.move(other)
    words.release()
    journal.begin("ann", 2, 2, 2)
    journal.finish("ann", 2)
    assert next_process(other, 4).written_number("ann") == 2
