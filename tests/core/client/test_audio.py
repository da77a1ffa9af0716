"""The ledger of a client: one entry for each submission, moved when the bytes move."""

from ray_sched.core.client.audio import AudioBook
from ray_sched.core.ledger import AudioState

KEPT, FILE = 1, 2


def entry(book: AudioBook, number: int) -> tuple[AudioState, int]:
    state = book.ledger.state(number)
    return state, book.ledger.bytes_in(state) if state is not AudioState.RELEASED else 0


def a_book() -> AudioBook:
    """With audio that its user keeps in memory, 320 bytes."""
    book = AudioBook()
    book.open(KEPT, 320)
    return book


def a_file() -> AudioBook:
    """With audio behind a path."""
    book = AudioBook()
    book.open(FILE, 0)
    return book


def test_kept_audio_is_held_between_pushes_stored_during_one_and_released_with_its_job() -> None:
    book = a_book()
    told = [entry(book, KEPT)]
    for step in (book.push_began, book.push_ended, book.release):
        step(KEPT)
        told.append(entry(book, KEPT))
    assert told == [
        (AudioState.HELD, 320),
        (AudioState.STORED, 320),
        (AudioState.HELD, 320),
        (AudioState.RELEASED, 0),
    ]
    assert (len(book.ledger), book.ledger.released_bytes) == (0, 320)


def test_a_file_holds_nothing_until_it_is_read_and_nothing_again_after_its_push() -> None:
    book = a_file()
    told = [entry(book, FILE)]
    book.read(FILE, 640)
    told.append(entry(book, FILE))
    for step in (book.push_began, book.push_ended, book.release):
        step(FILE)
        told.append(entry(book, FILE))
    assert told == [
        (AudioState.DECLARED, 0),
        (AudioState.HELD, 640),
        (AudioState.STORED, 640),
        (AudioState.DECLARED, 0),
        (AudioState.RELEASED, 0),
    ]


def test_audio_whose_job_ends_during_its_push_stays_stored_until_the_push_has_returned() -> None:
    book = a_book()
    book.push_began(KEPT)
    book.release(KEPT)
    assert entry(book, KEPT) == (AudioState.STORED, 320)
    book.push_ended(KEPT)
    assert (entry(book, KEPT), len(book.ledger)) == ((AudioState.RELEASED, 0), 0)


def test_each_push_of_the_same_audio_has_a_copy_of_its_own() -> None:
    book = a_book()
    book.push_began(KEPT)
    book.push_began(KEPT)
    assert entry(book, KEPT) == (AudioState.STORED, 640)
    book.push_ended(KEPT)
    assert entry(book, KEPT) == (AudioState.STORED, 320)
    book.push_ended(KEPT)
    assert entry(book, KEPT) == (AudioState.HELD, 320)


def test_a_file_that_is_read_again_while_its_first_push_is_under_way_counts_twice() -> None:
    book = a_file()
    book.read(FILE, 640)
    book.push_began(FILE)
    book.read(FILE, 640)
    assert entry(book, FILE) == (AudioState.STORED, 1_280)
    book.push_ended(FILE)
    assert entry(book, FILE) == (AudioState.HELD, 640)


def test_a_file_that_was_read_when_its_job_ended_is_held_until_it_is_dropped() -> None:
    book = a_file()
    book.read(FILE, 640)
    book.release(FILE)
    assert entry(book, FILE) == (AudioState.HELD, 640)
    book.drop(FILE)
    assert (entry(book, FILE), len(book.ledger)) == ((AudioState.RELEASED, 0), 0)


def test_a_file_that_was_read_and_is_not_pushed_is_only_declared_again() -> None:
    book = a_file()
    book.read(FILE, 640)
    book.drop(FILE)
    assert entry(book, FILE) == (AudioState.DECLARED, 0)


def test_reading_and_dropping_what_is_kept_or_over_changes_nothing() -> None:
    book = a_book()
    book.read(KEPT, 320)
    assert entry(book, KEPT) == (AudioState.HELD, 320)
    book.drop(KEPT)
    book.release(KEPT)
    book.release(KEPT)
    book.read(KEPT, 320)
    book.drop(KEPT)
    assert len(book.ledger) == 0


def test_bytes_of_a_file_are_held_as_they_are_and_counted_as_samples_while_there_are_some() -> None:
    book = a_file()
    book.keep(FILE, 100, are_samples=False)
    told = [entry(book, FILE)]
    book.read(FILE, 640)
    told.append(entry(book, FILE))
    for step in (book.push_began, book.push_ended, book.release):
        step(FILE)
        told.append(entry(book, FILE))
    assert told == [
        (AudioState.HELD, 100),
        (AudioState.HELD, 640),
        (AudioState.STORED, 640),
        (AudioState.HELD, 100),
        (AudioState.RELEASED, 0),
    ]


def test_samples_that_were_read_from_a_pipe_are_kept_like_those_of_an_array() -> None:
    book = a_file()
    book.keep(FILE, 320, are_samples=True)
    book.read(FILE, 320)
    book.push_began(FILE)
    assert entry(book, FILE) == (AudioState.STORED, 320)
    book.push_ended(FILE)
    book.release(FILE)
    book.keep(FILE, 320, are_samples=True)
    assert len(book.ledger) == 0
