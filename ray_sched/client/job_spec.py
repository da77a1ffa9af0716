"""The description of a job from what a user says of it, checked before anything is sent."""

import functools
import os

import msgspec

from ray_sched.client.audio import AudioSource
from ray_sched.core.capability import ASR, MT, TTS, Language
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.messages.fields import MAX_TEXT
from ray_sched.wire.codec import encode


def language(tag: str) -> str:
    """The tag itself. Raises SchedError INVALID_LANGUAGE if it is none."""
    try:
        return _checked_language(tag)
    except (msgspec.ValidationError, TypeError):  # TypeError: something that cannot even be remembered
        raise SchedError(Code.INVALID_LANGUAGE, f"{tag!r} is not a language tag; write it as en, es or pt-BR") from None


@functools.lru_cache(1_024)
def _checked_language(tag: str) -> str:
    return msgspec.convert(tag, Language)


@functools.lru_cache(1_024)
def services(src: str, tgt: str, *, speech: bool) -> tuple[str, ...]:
    """What a job from one language to another needs, sorted: another language is translated, ``speech`` spoken."""
    wanted = [ASR, *([MT] if src != tgt else []), *([TTS] if speech else [])]
    return tuple(sorted(wanted))


def checked(spec: JobSpec) -> JobSpec:
    """Refuse here what the Dispatcher would refuse to decode: one bad job must not take its batch with it.

    Raises SchedError INVALID_MESSAGE.
    """
    try:
        msgspec.msgpack.decode(encode(spec), type=JobSpec)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError) as error:
        # encoding raises the others: an integer of more than 64 bits, half a character, no text at all
        raise SchedError(Code.INVALID_MESSAGE, f"the job's description is not valid: {error}") from None
    return spec


def name_of(audio: AudioSource) -> str:
    """What people call it: the end of its path, of which a file system may have made bytes that are no text."""
    name = os.fspath(audio) if isinstance(audio, str | os.PathLike) else ""
    return os.fsdecode(name)[-MAX_TEXT:].encode(errors="replace").decode()
