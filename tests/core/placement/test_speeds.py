"""Learned speeds, and the speed classes of nodes."""

import pytest

from ray_sched.core.placement.speeds import SpeedBook
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
