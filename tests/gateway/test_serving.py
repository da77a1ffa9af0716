"""Where the gateway may listen, and the sentence for each place where it may not."""

import contextlib

import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.serving import listen


@pytest.mark.parametrize(
    ("address", "code", "sentence"),
    [
        ("8080", Code.INVALID_CONFIGURATION, "is no HOST:PORT"),
        ("127.0.0.1:http", Code.INVALID_CONFIGURATION, "is no HOST:PORT"),
        ("127.0.0.1:65536", Code.INVALID_CONFIGURATION, "is no HOST:PORT"),
        ("0.0.0.0:0", Code.INVALID_CONFIGURATION, "is reached from other machines, and no token is asked for"),
        ("no.such.host.invalid:80", Code.INVALID_CONFIGURATION, "cannot be found"),
    ],
)
def test_a_place_that_cannot_be_is_refused(address: str, code: Code, sentence: str) -> None:
    with pytest.raises(SchedError, match=sentence) as caught:
        listen(address, has_tokens=False)
    assert caught.value.code is code


def test_with_tokens_it_listens_everywhere_and_a_port_is_taken_once() -> None:
    with contextlib.closing(listen("0.0.0.0:0", has_tokens=True)) as first:
        port = first.getsockname()[1]
        with pytest.raises(SchedError, match=f"0.0.0.0:{port} cannot be listened on") as caught:
            listen(f"0.0.0.0:{port}", has_tokens=True)
    assert caught.value.code is Code.PORT_IN_USE
