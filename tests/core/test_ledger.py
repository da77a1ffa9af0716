"""The audio ledger: its table, and sums that always add up."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.ledger import LEDGER_TABLE, AudioState, Ledger, LedgerError


@pytest.mark.parametrize("to", AudioState)
@pytest.mark.parametrize("state", sorted(set(AudioState) - {AudioState.RELEASED}))
def test_audio_moves_by_the_table_or_changes_nothing(state: AudioState, to: AudioState) -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", state, 100)
    if to in LEDGER_TABLE[state]:
        ledger.move("j1", to)
        assert ledger.state("j1") is to
    else:
        with pytest.raises(LedgerError):
            ledger.move("j1", to)
        assert (ledger.state("j1"), ledger.bytes_in(state)) == (state, 100)


def test_released_audio_is_forgotten_and_its_bytes_are_counted() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", AudioState.DECLARED, 0)
    ledger.move("j1", AudioState.HELD, 320)
    ledger.move("j1", AudioState.STORED)
    ledger.move("j1", AudioState.RELEASED)
    assert (len(ledger), ledger.bytes_in(), ledger.released_bytes) == (0, 0, 320)
    with pytest.raises(LedgerError):
        ledger.move("j1", AudioState.HELD)


def test_audio_is_released_in_the_moment_in_which_its_run_has_spoken_and_the_speech_when_it_was_fetched() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", AudioState.RUNNING, 32_000)
    ledger.move("j1", AudioState.SPOKEN, 640)
    assert (ledger.bytes_in(AudioState.RUNNING), ledger.bytes_in(AudioState.SPOKEN)) == (0, 640)
    assert ledger.released_bytes == 32_000
    ledger.move("j1", AudioState.RELEASED)
    assert (ledger.bytes_in(), ledger.released_bytes) == (0, 32_640)


def test_a_key_is_opened_once_and_never_with_less_than_nothing() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", AudioState.HELD, 5)
    with pytest.raises(LedgerError):
        ledger.open("j1", AudioState.HELD, 5)
    with pytest.raises(LedgerError):
        ledger.open("j2", AudioState.HELD, -1)
    assert (len(ledger), ledger.bytes_in()) == (1, 5)


def test_an_entry_grows_and_shrinks_in_its_state_but_not_below_nothing() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", AudioState.STORED, 320)
    ledger.resize("j1", 960)
    ledger.resize("j1", 640)
    assert ledger.released_bytes == 320
    assert (ledger.state("j1"), ledger.bytes_in(AudioState.STORED), ledger.bytes_in()) == (AudioState.STORED, 640, 640)
    with pytest.raises(LedgerError):
        ledger.resize("j1", -1)
    with pytest.raises(LedgerError):
        ledger.resize("j2", 0)
    assert ledger.bytes_in() == 640


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(AudioState), st.integers(0, 1_000)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_sums_equal_the_entries_after_any_moves(moves: list[tuple[int, AudioState, int]]) -> None:
    ledger: Ledger[int] = Ledger()
    model: dict[int, tuple[AudioState, int]] = {}
    for key, state, n_bytes in moves:
        if key not in model:
            if state is not AudioState.RELEASED:
                ledger.open(key, state, n_bytes)
                model[key] = (state, n_bytes)
        elif state in LEDGER_TABLE[model[key][0]]:
            ledger.move(key, state, n_bytes)
            model[key] = (state, n_bytes)
            if state is AudioState.RELEASED:
                del model[key]
        for each in AudioState:
            assert ledger.bytes_in(each) == sum(had for where, had in model.values() if where is each)


def test_a_ledger_says_what_is_wrong_and_with_which_entry() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", AudioState.HELD, 5)
    changes: list[tuple[Callable[[], None], str]] = [
        (lambda: ledger.open("j1", AudioState.HELD, 5), "'j1' is in the ledger already"),
        (lambda: ledger.open("j2", AudioState.HELD, -1), "'j2' cannot have -1 bytes"),
        (lambda: ledger.move("j2", AudioState.STORED), "'j2' is not in the ledger"),
        (lambda: ledger.move("j1", AudioState.SPOKEN), "the audio of 'j1' is held and cannot become spoken"),
        (lambda: ledger.resize("j2", 5), "'j2' is not in the ledger"),
        (lambda: ledger.resize("j1", -1), "'j1' cannot have -1 bytes"),
    ]
    for change, says in changes:
        with pytest.raises(LedgerError) as raised:
            change()
        assert str(raised.value) == says
    assert (ledger.bytes_in(), len(ledger), ledger.released_bytes) == (5, 1, 0)


def test_what_an_entry_loses_on_its_way_is_released_and_what_it_gains_is_not() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.open("j1", AudioState.DECLARED, 0)
    ledger.move("j1", AudioState.HELD, 320)
    ledger.move("j1", AudioState.STORED, 640)
    assert (ledger.released_bytes, ledger.bytes_in(AudioState.HELD, AudioState.STORED)) == (0, 640)
    ledger.move("j1", AudioState.HELD, 300)
    assert ledger.released_bytes == 340
    ledger.move("j1", AudioState.DECLARED, 0)
    assert (ledger.released_bytes, ledger.bytes_in(), ledger.state("j1")) == (640, 0, AudioState.DECLARED)
    ledger.resize("j1", 0)
    ledger.open("j2", AudioState.HELD, 0)
    assert (ledger.released_bytes, len(ledger), ledger.state("j3")) == (640, 2, AudioState.RELEASED)
