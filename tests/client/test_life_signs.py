"""Signs of life of a client whose event loop is blocked."""

import asyncio
import threading

import pytest

from ray_sched.client.life_signs import LifeSigns

QUICK_S = 0.01


class Said:
    """Counts, and lets a thread wait for the next one."""

    def __init__(self) -> None:
        self.n = 0
        self._is_said = threading.Event()

    def __call__(self) -> None:
        self.n += 1
        self._is_said.set()

    def wait(self) -> bool:
        """Whether it is said once more; blocks."""
        self._is_said.clear()
        return self._is_said.wait(10)


async def test_a_client_whose_event_loop_is_blocked_says_that_it_lives_again_and_again() -> None:
    said = Said()
    signs = LifeSigns(said, QUICK_S)
    signs.start()
    try:
        assert [said.wait() for _ in range(3)] == [True] * 3
    finally:
        signs.end()


async def test_a_client_whose_event_loop_turns_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said, looks = Said(), asyncio.Event()
    n_looks = 0
    turned = asyncio.get_running_loop().call_soon_threadsafe

    def look(callback: object, *args: object, **options: object) -> object:
        nonlocal n_looks
        n_looks += 1
        if n_looks == 20:
            turned(looks.set)
        return turned(callback, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", look)
    signs = LifeSigns(said, 0.05)
    signs.start()
    async with asyncio.timeout(30):
        await looks.wait()
    signs.end()
    assert said.n <= 2, "a machine that is busy may be late now and then"


async def test_when_the_client_has_ended_nothing_is_said_and_the_thread_ends() -> None:
    said = Said()
    before = set(threading.enumerate())
    signs = LifeSigns(said, QUICK_S)
    signs.start()
    (thread,) = set(threading.enumerate()) - before
    signs.end()
    thread.join(10)
    assert not thread.is_alive()


def test_the_thread_ends_with_the_event_loop_though_nobody_has_ended_it() -> None:
    threads: list[threading.Thread] = []

    async def forget() -> None:
        before = set(threading.enumerate())
        LifeSigns(Said(), QUICK_S).start()
        threads.extend(set(threading.enumerate()) - before)

    asyncio.run(forget())
    (thread,) = threads
    thread.join(10)
    assert not thread.is_alive()
