"""Inputs that once went through a border, or might: each stays here under the name of what it does."""

import struct

import msgspec

from ray_sched.agent.engine_messages import EngineFinished, encode_frame
from ray_sched.core.messages.agent_dispatcher import StopRun
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt
from tests.hostile.targets import KINDS


def _wav(
    *, riff: int = 36 + 3_200, data: int = 3_200, rate_hz: int = 16_000, channels: int = 1, there: int = 3_200
) -> bytes:
    block = 2 * channels % 2**16
    fmt = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * block % 2**32, block, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", data) + bytes(there)


def _message(kind: type, raw: bytes) -> bytes:
    return bytes([KINDS.index(kind)]) + raw


_STOP = b"\x83\xa4type\xa7StopRun\xa7attempt\x01\xa6job_id"

CORPUS: dict[str, dict[str, bytes]] = {
    "messages": {
        "nothing": b"",
        "half a character": _message(StopRun, _STOP + b"\xa3\xed\xa0\x80"),
        "half a character as the name of a field": _message(StopRun, b"\x82\xa4type\xa7StopRun\xa3\xed\xa0\x80\x01"),
        "nested a million times": _message(StopRun, _STOP + b"\x91" * 1_000_000),
        "a text that claims 4 GB": _message(StopRun, _STOP + b"\xdb\xff\xff\xff\xff"),
        "a map that claims 4 billion entries": _message(
            LeaseReceipt, b"\x82\xa4type\xacLeaseReceipt\xa8acquired\xdf\xff\xff\xff\xff"
        ),
        "ten megabytes of job id": _message(StopRun, _STOP + b"\xdb" + struct.pack(">I", 10**7) + b"x" * 10**7),
        "an integer of 64 bits": _message(StopRun, b"\x82\xa4type\xa7StopRun\xa7attempt\xcf" + b"\xff" * 8),
        "not a number": _message(StopRun, b"\x82\xa4type\xa7StopRun\xa7attempt\xcb\x7f\xf8" + bytes(6)),
        "a type of its own": _message(StopRun, _STOP + b"\xc7\x03\xff\x01\x01\x01"),
        "an unknown code of 100 kB": b"\x001\x0e",
    },
    "labels": {
        "slots that overflow in front": b"engine=echo\nslots=0000000011111",
        "slots of five thousand digits": b"engine=echo\nslots=" + b"9" * 5_000,
        "a name with a path in it": b"engine=echo\nnode=../../etc/passwd",
        "a name that is a key": b"engine=echo\nnode=a:b\x00*",
        "a name of ten megabytes": b"engine=echo\nnode=" + b"n" * 10**7,
        "an engine that is no name": b"engine=os; rm -rf /",
        "a tenant that is no text": b"engine=echo\ntenant=\xff\xfe",
        "languages without end": b"engine=echo\nasr=" + b"en." * 100_000,
    },
    "capability": {
        "an engine of ten megabytes": msgspec.msgpack.encode({"engine": "e" * 10**7}),
        "an engine with a line break": msgspec.msgpack.encode({"engine": "a\nb"}),
        "languages that are none": msgspec.msgpack.encode({"engine": "e", "asr": ["English", "", 5]}),
        "two thousand languages": msgspec.msgpack.encode({"engine": "e", "asr": ["en"] * 2_000}),
        "pairs that are none": msgspec.msgpack.encode({"engine": "e", "mt": ["en", "en:es:fr"]}),
        "not a capability": msgspec.msgpack.encode([1, 2, 3]),
    },
    "configuration": {
        "a million laughs": b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9))
        + b"store: *a8\n",
        "laughs where a number should be": b"cleanup:\n  keep_ms: &a [&b [x, x], *b, *b]\n",
        "nested ten thousand times": b"[" * 10_000,
        "a date that is none": b"namespace: 2024-99-99\n",
        "a float that is none": b"namespace: !!float x\n",
        "an integer of five thousand digits": b"cleanup: {keep_ms: " + b"9" * 5_000 + b"}\n",
        "an object to be made": b"namespace: !!python/object/apply:os.system ['true']\n",
        "a key that is no text": b"? [1, 2]\n: 3\n",
        "numbers as keys": b"1: 2\n",
        "infinitely long": b"dispatch: {run_timeout_factor: .inf}\n",
        "not a number": b"selection: {default_speed: .nan}\n",
        "not UTF-8": b"\xff\xfe\x00",
        "a list": b"- 1\n- 2\n",
        "two megabytes": b"# " + b"x" * 2**21,
        "a section in one variable that is no JSON": b"\0STORE={",
        "a section in one variable, nested": b"\0STORE=" + b"[" * 10_000,
        "a variable that is no text": b"\0ADDRESS=\xff\xfe\nNODES=\xff",
        "a variable with an unknown name of 100 kB": b"\0" + b"X" * 100_000 + b"=1",
    },
    "audio": {
        "an honest one": _wav(),
        "claims 4 GB": _wav(riff=2**32 - 1, data=2**32 - 1 - 36, there=8),
        "claims to be short": _wav(riff=40, data=4),
        "is empty": _wav(data=0, there=0),
        "was cut off": _wav()[:100],
        "is a header cut off": _wav()[:30],
        "a frame that is less than a sample": _wav(riff=40, data=4, rate_hz=400_000, channels=2, there=4),
        "no channels": _wav(channels=0),
        "more channels than anybody has": _wav(channels=65_535),
        "no rate": _wav(rate_hz=0),
        "a rate of 4 GHz": _wav(rate_hz=2**32 - 1),
        "RF64 that claims more than there is in the world": b"RF64\xff\xff\xff\xffWAVEds64"
        + struct.pack("<IQQQI", 28, 2**63, 2**63, 2**62, 0)
        + _wav()[12:],
        "FLAC that claims 2**36 samples": b"fLaC\x80\x00\x00\x22\x10\x00\x10\x00"
        + bytes(6)
        + (16_000 << 44 | 15 << 36 | (2**36 - 1)).to_bytes(8, "big")
        + bytes(16),
        "OGG that never begins": b"OggS" + b"\0" * 60,
        "OGG of nothing but pages": b"OggS" * 5_000,
        "an ID3 tag that claims 256 MB": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"x" * 100,
        "AIFF that claims 4 GB": b"FORM\xff\xff\xff\xffAIFF",
        "a sync word and nothing": b"\xff\xfb",
    },
    "records": {
        "an empty one": b"{}",
        "not JSON": b"\x80\x03}\n[1, 2]\nnull",
        "nested ten thousand times": b"[" * 10_000,
        "half a character": b'{"job_id": "\\ud800"}',
        "good ones, twisted nowhere": bytes([200] * 300),
    },
    "realtime": {
        "nothing": b"",
        "an update of nothing": b'\0{"type": "session.update", "session": null}',
        "base64 of half a sample": b'\0{"type": "input_audio_buffer.append", "audio": "AA=="}',
        "a wish that is a text": b'\0{"type": "session.update", "session": {"audio": {"input": ""}}}',
        "half a character": b'\0{"type": "\xed\xa0\x80"}',
        "nested a hundred thousand times": b"\0" + b"[" * 100_000,
    },
    "frames": {
        "a print": b"Loading the model ...\n",
        "a frame of 4 GB": b"\xff\xff\xff\xff" + b"x" * 100,
        "a frame of nothing": bytes(4),
        "a result of wrong types": encode_frame(EngineFinished(run=1, result="hello")),  # type: ignore[arg-type]  # so it is
        "nested a million times": struct.pack("<I", 10**6) + b"\x91" * 10**6,
    },
}
