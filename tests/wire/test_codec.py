import msgspec
import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_dispatcher import ClientBatch, JobSpec, Submit
from ray_sched.wire.codec import decode, encode


def batch(**spec: object) -> bytes:
    told = {"request_id": "r", "src": "en", "tgt": "es"} | spec
    message = {"type": "Submit", "spec": told}
    return msgspec.msgpack.encode({"type": "ClientBatch", "client_id": "c", "generation": 1, "messages": [message]})


def test_a_message_comes_back_as_it_was_sent() -> None:
    sent = ClientBatch(
        client_id="c",
        generation=7,
        messages=(Submit(spec=JobSpec(request_id="r", src="en", tgt="pt-BR", priority=-3)),),
    )
    assert decode(encode(sent), ClientBatch) == sent


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"not a message",
        batch(src="english"),
        batch(priority=10**9),
        batch(utterance_index=-1),
        batch(utterance_index=2**60),
        batch(audio_ms="long"),
        batch(session="s" * 257),
        batch(unknown_field=1),
        batch(deadline_ms=0),
    ],
)
def test_anything_else_is_refused_with_one_sentence(raw: bytes) -> None:
    with pytest.raises(SchedError) as error:
        decode(raw, ClientBatch)
    assert error.value.code is Code.INVALID_MESSAGE
    assert "ClientBatch" in error.value.message
