"""Learned speeds, and the speed classes of nodes."""

import random

import pytest

from ray_sched.core.placement.speeds import UNKNOWN_CLASS, SpeedBook
from tests.support.placement import RULES


def test_speed_is_learned_per_node_and_pair_and_a_stranger_is_assumed_average() -> None:
    book = SpeedBook(RULES)
    assert book.speed("a", "en:en") == 1.0
    book.learn("a", "en:en", 10_000, 1_000)
    assert (book.speed("a", "en:en"), book.speed("b", "en:en"), book.speed("a", "en:es")) == (10.0, 10.0, 1.0)
    book.learn("a", "en:en", 20_000, 1_000)
    assert book.speed("a", "en:en") == pytest.approx(12.0)
    book.learn("a", "en:en", 0, 1_000)
    assert book.of_node("a") == {"en:en": pytest.approx(12.0)}
    assert book.take_unsaved() == {"a": {"en:en": pytest.approx(12.0)}}
    assert book.take_unsaved() == {}
    book.forget_all_but({"b"})
    assert book.of_node("a") == {}


def test_speeds_that_were_learned_are_saved_once_and_loaded_behind_what_was_learned_since() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 2_000, 1_000)
    assert (book.take_unsaved(), book.take_unsaved()) == ({"a": {"en:en": 2.0}}, {})
    after = SpeedBook(RULES)
    after.learn("b", "en:en", 4_000, 1_000)
    after.load({"a": {"en:en": 2.0}, "b": {"en:en": 9.0}})
    assert (after.speed("a", "en:en"), after.speed("b", "en:en")) == (2.0, 4.0)


def test_nobody_is_believed_everything() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 10_000_000, 0)
    book.learn("b", "en:en", 1, 10_000_000)
    assert (book.speed("a", "en:en"), book.speed("b", "en:en")) == (10_000.0, 0.001)
    book.load({"c": {"en:en": 0.0}, "d": {"en:en": 1e9}})
    assert (book.speed("c", "en:en"), book.speed("d", "en:en")) == (0.001, 10_000.0)


def test_a_run_of_no_time_counts_as_a_millisecond() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 500, 0)
    book.learn("b", "en:en", 500, 2)
    assert (book.speed("a", "en:en"), book.speed("b", "en:en")) == (500.0, 250.0)


def test_audio_of_no_length_teaches_nothing_and_a_millisecond_of_it_does() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 0, 10)
    assert book.all() == {}
    book.learn("a", "en:en", 1, 1)
    assert book.all() == {"a": {"en:en": 1.0}}


def test_no_more_pairs_are_learned_than_there_is_room_for_and_known_ones_go_on() -> None:
    book = SpeedBook(RULES)
    for number in range(4_097):
        book.learn("a", f"pair-{number}", 2_000, 1_000)
    assert len(book.of_node("a")) == 4_096
    book.learn("a", "pair-0", 7_000, 1_000)
    assert book.speed("a", "pair-0") == pytest.approx(3.0)


def test_a_stranger_is_as_fast_as_the_latest_runs_were_on_average() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 10_000, 1_000)
    book.learn("b", "en:en", 5_000, 1_000)
    assert book.speed("stranger", "en:en") == pytest.approx(9.0)


def test_a_node_is_as_many_classes_up_as_it_is_times_twice_as_fast() -> None:
    book = SpeedBook(RULES)
    assert book.class_of("one") == UNKNOWN_CLASS
    for node, audio_ms in (("one", 1_000), ("two", 2_000), ("six", 6_000), ("half", 500), ("nearly", 1_400)):
        book.learn(node, "en:en", audio_ms, 1_000)
    classes = {node: book.class_of(node) for node in ("one", "two", "six", "half", "nearly")}
    assert classes == {"one": 0, "two": 1, "six": 3, "half": -1, "nearly": 0}


def test_the_class_of_a_node_does_not_depend_on_the_pairs_that_it_ran() -> None:
    """Synthesis takes ten times as long as recognition; the fast node is twice as fast as the slow one with both."""
    book = SpeedBook(RULES)
    book.learn("slow", "en:en", 10_000, 1_000)
    book.learn("slow", "en:es", 1_000, 1_000)
    book.learn("fast", "en:es", 2_000, 1_000)
    assert (book.class_of("slow"), book.class_of("fast")) == (0, 1)
    book.learn("fast", "en:en", 20_000, 1_000)
    assert (book.class_of("slow"), book.class_of("fast")) == (0, 1)


def test_classes_hold_however_long_a_node_runs_nothing() -> None:
    """The others run on with all their noise, and are found as fast beside it as they were."""
    rng = random.Random(1)  # noqa: S311  # the same every time
    book = SpeedBook(RULES)
    for node, audio_ms in (("idle", 1_000), ("fast", 4_000), ("faster", 8_000)):
        book.learn(node, "en:en", audio_ms, 1_000)
    for _ in range(20_000):
        book.learn("fast", "en:en", round(4_000 * rng.lognormvariate(0.0, 0.2)), 1_000)
        book.learn("faster", "en:en", round(8_000 * rng.lognormvariate(0.0, 0.2)), 1_000)
    assert (book.class_of("idle"), book.class_of("fast"), book.class_of("faster")) == (0, 2, 3)


def test_whoever_watches_is_told_of_a_node_s_class_when_it_changes() -> None:
    told: list[tuple[str, int]] = []
    book = SpeedBook(RULES)
    book.watch(lambda node, speed_class: told.append((node, speed_class)))
    book.load({"a": {"en:en": 1.0}})
    book.learn("a", "en:en", 1_000, 1_000)
    book.learn("b", "en:en", 2_000, 1_000)
    for _ in range(20):
        book.learn("b", "en:en", 1_000, 1_000)
    assert told == [("a", 0), ("b", 1), ("b", 0)]


def test_the_node_that_was_overlooked_for_a_hundred_runs_of_each_node_is_a_stranger_again() -> None:
    told: list[tuple[str, int]] = []
    book = SpeedBook(RULES)
    book.learn("slow", "en:en", 100, 1_000)
    book.watch(lambda node, speed_class: told.append((node, speed_class)))
    for _ in range(199):
        book.learn("fast", "en:en", 1_000, 1_000)
    book.forget_overlooked()
    assert book.speed("slow", "en:en") == 0.1
    book.learn("fast", "en:en", 1_000, 1_000)
    book.forget_overlooked()
    assert book.speed("slow", "en:en") == pytest.approx(1.0)
    assert (book.class_of("slow"), told[-1]) == (UNKNOWN_CLASS, ("slow", UNKNOWN_CLASS))
    assert book.all() == {"fast": {"en:en": 1.0}}


def test_only_the_pair_that_a_node_was_overlooked_for_is_forgotten() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 100, 1_000)
    book.learn("a", "en:es", 1_000, 1_000)
    for _ in range(200):
        book.learn("b", "en:en", 1_000, 1_000)
    book.forget_overlooked()
    book.forget_overlooked()
    assert book.of_node("a") == {"en:es": 1.0}
    assert book.class_of("a") != UNKNOWN_CLASS


def test_of_several_that_were_overlooked_the_one_that_was_so_longest_is_forgotten_first() -> None:
    book = SpeedBook(RULES)
    book.load({"stored": {"en:en": 0.1}})
    book.learn("later", "en:en", 100, 1_000)
    for _ in range(400):
        book.learn("fast", "en:en", 1_000, 1_000)
    book.forget_overlooked()
    assert set(book.all()) == {"later", "fast"}
    book.forget_overlooked()
    assert set(book.all()) == {"fast"}
    book.forget_overlooked()
    assert set(book.all()) == {"fast"}


def test_a_book_in_which_nothing_stands_has_nothing_to_forget() -> None:
    book = SpeedBook(RULES)
    book.forget_overlooked()
    assert book.all() == {}


def test_of_a_node_that_is_forgotten_nothing_is_known_and_of_the_others_everything() -> None:
    book = SpeedBook(RULES)
    book.learn("a", "en:en", 4_000, 1_000)
    book.learn("b", "en:en", 8_000, 1_000)
    book.forget_all_but({"b"})
    assert (book.class_of("a"), book.class_of("b")) == (UNKNOWN_CLASS, 1)
    assert book.all() == {"b": {"en:en": 8.0}}
    assert book.take_unsaved() == {"b": {"en:en": 8.0}}


def test_what_a_pair_takes_is_the_mean_of_all_that_was_seen_of_it() -> None:
    """Here that of 1, 1 and 3.3, as a node of relative speed 1 has it: classes begin at 1.78 times a root of two."""
    book = SpeedBook(RULES)
    book.learn("one", "en:en", 1_000, 1_000)
    book.learn("other", "en:en", 8_000, 1_000)
    book.learn("other", "en:en", 64_000, 1_000)
    for node, audio_ms in (("slow", 1_200), ("middle", 2_480), ("fast", 2_540)):
        book.learn(node, "en:en", audio_ms, 1_000)
    assert [book.class_of(node) for node in ("slow", "middle", "fast")] == [-1, 0, 1]


def test_a_stranger_is_as_fast_as_what_was_loaded_of_the_others() -> None:
    book = SpeedBook(RULES)
    book.load({"a": {"en:en": 4.0, "en:es": 2.0}})
    assert (book.speed("stranger", "en:en"), book.speed("stranger", "en:es")) == (4.0, 2.0)
    assert book.take_unsaved() == {}, "it is stored already"
