"""The fewest commands that say the same as the changes one by one."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ray_sched.core.ports import Change, ForgetJob, ForgetNode, SaveJob, SaveNode, SaveSpeeds
from ray_sched.store.commands import Command, Value, commands_for, transactions_for
from ray_sched.store.keys import Keys
from tests.support.redis import forget, save

KEYS = Keys("p")


def test_one_open_job_takes_two_commands_in_one_transaction() -> None:
    assert commands_for([save("j1", b"{}")], KEYS, 60) == [
        ("MULTI",),
        ("MSET", "p:job:j1", b"{}"),
        ("SADD", "p:jobs", "j1"),
        ("EXEC",),
    ]


def test_a_hundred_open_jobs_take_no_more_commands_than_one() -> None:
    assert len(commands_for([save(f"j{number}") for number in range(100)], KEYS, 60)) == 4


def test_a_job_that_ends_expires() -> None:
    assert commands_for([save("j1"), save("j1", b"end", is_open=False)], KEYS, 60) == [
        ("MULTI",),
        ("SET", "p:job:j1", b"end", "EX", "60"),
        ("SADD", "p:jobs", "j1"),
        ("EXEC",),
    ]


def test_a_job_saved_and_forgotten_is_only_forgotten() -> None:
    assert commands_for([save("j1"), forget("j1")], KEYS, 60) == [
        ("MULTI",),
        ("DEL", "p:job:j1"),
        ("SREM", "p:jobs", "j1"),
        ("EXEC",),
    ]


def test_no_change_is_no_command() -> None:
    assert commands_for([], KEYS, 60) == []


def test_what_is_too_much_for_one_transaction_goes_in_several_in_order() -> None:
    many: list[Change] = [save(f"j{number}") for number in range(4_001)]
    assert [len(jobs_in(commands)) for commands in transactions_for(many, KEYS, 60)] == [2_000, 2_000, 1]
    large: list[Change] = [save(f"j{number}", b"x" * 2**21) for number in range(5)]
    parts = [jobs_in(commands) for commands in transactions_for(large, KEYS, 60)]
    assert parts == [["p:job:j0", "p:job:j1"], ["p:job:j2", "p:job:j3"], ["p:job:j4"]]


def test_what_is_small_goes_in_one() -> None:
    few: list[Change] = [save("j1"), forget("j2")]
    assert list(transactions_for(few, KEYS, 60)) == [commands_for(few, KEYS, 60)]
    assert list(transactions_for([], KEYS, 60)) == []


def jobs_in(commands: list[Command]) -> list[Value]:
    return [key for name, *words in commands if name == "MSET" for key in words[::2]]


ids = st.sampled_from(["a", "b"])
changes: st.SearchStrategy[list[Change]] = st.lists(
    st.one_of(
        st.builds(SaveJob, job_id=ids, is_open=st.booleans(), record=st.binary()),
        st.builds(ForgetJob, job_id=ids),
        st.builds(SaveNode, node_id=ids, record=st.binary()),
        st.builds(ForgetNode, node_id=ids),
        st.builds(SaveSpeeds, node_id=ids, speeds=st.dictionaries(ids, st.floats(0, 9))),
    )
)


@given(changes)
def test_one_commit_of_many_leaves_what_many_commits_of_one_leave(many: list[Change]) -> None:
    together, apart = Server(), Server()
    together.run(commands_for(many, KEYS, 60))
    for change in many:
        apart.run(commands_for([change], KEYS, 60))
    assert together.content == apart.content


class Server:
    """The few commands a commit uses, on dictionaries."""

    def __init__(self) -> None:
        self.content: dict[tuple[Value, ...], Value] = {}

    def run(self, commands: list[Command]) -> None:
        for name, *words in commands[1:-1]:
            match name:
                case "MSET":
                    self._drop((key, "expires") for key in words[::2])
                    self.content |= {(key,): value for key, value in zip(words[::2], words[1::2], strict=True)}
                case "SET":
                    self.content |= {(words[0],): words[1], (words[0], "expires"): words[3]}
                case "DEL":
                    self._drop(entry for key in words for entry in [(key,), (key, "expires")])
                case "SADD":
                    self.content |= {(words[0], member): "" for member in words[1:]}
                case "HSET":
                    self.content |= {(words[0], f): value for f, value in zip(words[1::2], words[2::2], strict=True)}
                case "SREM" | "HDEL":
                    self._drop((words[0], member) for member in words[1:])
                case _:
                    raise AssertionError(name)

    def _drop(self, entries: Iterable[tuple[Value, ...]]) -> None:
        for entry in entries:
            self.content.pop(entry, None)
