"""Bytes from strangers at every border: refused with the promised error, or taken and then sound."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.corpus import CORPUS
from tests.hostile.targets import GOOD, KINDS, TARGETS, seeds

ALL = [(target, what) for target, inputs in CORPUS.items() for what in inputs]
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ONE_GIGABYTE = """
import resource
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
from tests.hostile.corpus import CORPUS
from tests.hostile.targets import TARGETS
for target, inputs in CORPUS.items():
    for data in inputs.values():
        TARGETS[target](data)
print("the end")
"""


@pytest.mark.parametrize(("target", "what"), ALL, ids=[f"{target}: {what}" for target, what in ALL])
def test_what_once_broke_a_border_or_might_does_not(target: str, what: str) -> None:
    TARGETS[target](CORPUS[target][what])


def test_there_is_a_good_one_of_every_message() -> None:
    assert [kind.__name__ for kind in KINDS if kind not in GOOD] == []


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_good_inputs_are_taken(target: str) -> None:
    for seed in seeds(target):
        TARGETS[target](seed)


def test_no_claim_however_large_takes_a_gigabyte() -> None:
    ended = subprocess.run([sys.executable, "-c", ONE_GIGABYTE], capture_output=True, text=True, check=False)
    assert ended.stdout == "the end\n", ended.stderr[-2_000:]


@pytest.mark.parametrize("target", sorted(TARGETS))
@SLOW
@given(data=st.binary(max_size=4_096))
def test_random_bytes_do_not_go_through(target: str, data: bytes) -> None:
    TARGETS[target](data)


@st.composite
def spoiled(draw: st.DrawFn, target: str) -> bytes:
    """A good input with some bytes changed, cut off at the end, or with a piece of it repeated."""
    data = bytearray(draw(st.sampled_from(seeds(target))))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f"])))
        data[at : at + draw(st.integers(0, 8))] = piece
    return bytes(data[: draw(st.integers(len(data) // 2, len(data)))])


@pytest.mark.parametrize("target", sorted(TARGETS))
@SLOW
@given(data=st.data())
def test_good_inputs_that_were_spoiled_do_not_go_through(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(spoiled(target)))


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_two_seconds_of_coverage_guided_bytes_find_nothing(target: str) -> None:
    fuzzer = [sys.executable, "-m", "tests.hostile", "--target", target, "--seconds", "2"]
    # a shell between: the peak of memory that the fuzzer is judged by begins with that of the process that starts it
    command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *fuzzer]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, ended.stdout[-1_000:] + ended.stderr[-3_000:]
    assert "DONE" in ended.stderr
