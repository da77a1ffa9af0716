"""The description of a job from what a user says of it, checked before anything is sent."""

import functools
import os
from collections.abc import Collection, Mapping

import msgspec

from ray_sched.client.audio import AudioSource
from ray_sched.core.capability import ASR, AUTO, MT, TTS, Language
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.messages.fields import MAX_TEXT, Index
from ray_sched.core.messages.recognition import Hints, Option
from ray_sched.wire.codec import encode


def language(tag: str) -> str:
    """The tag itself. Raises SchedError INVALID_LANGUAGE if it is none."""
    try:
        return _checked_language(tag)
    except (msgspec.ValidationError, TypeError):  # TypeError: something that cannot even be remembered
        raise SchedError(Code.INVALID_LANGUAGE, f"{tag!r} is not a language tag; write it as en, es or pt-BR") from None


def languages(src: str | Collection[str], tgt: str | None, *, speech: bool) -> tuple[str, str, tuple[str, ...]]:
    """The source, the target, and the languages to choose from. Raises SchedError INVALID_LANGUAGE.

    ``src``: a tag, ``auto``, or several tags of which the spoken one is one.
    """
    candidates: tuple[str, ...] = ()
    if isinstance(src, str):
        source = src if src == AUTO else language(src)
    else:
        source, candidates = _one_of(src)
    if tgt is not None and tgt != source:
        return source, language(tgt), candidates
    if speech and source == AUTO:
        raise SchedError(Code.INVALID_LANGUAGE, "name a target language: what is spoken again has to be in a known one")
    return source, source, candidates


def _one_of(tags: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """``auto`` and the languages to choose from, sorted; a single one needs no choice."""
    try:
        candidates = tuple(sorted({language(tag) for tag in tags}))
    except TypeError:
        raise SchedError(Code.INVALID_LANGUAGE, f"{tags!r} is not a language tag, nor several of them") from None
    if not candidates:
        raise SchedError(Code.INVALID_LANGUAGE, "name a language that may be spoken, or say auto")
    return (AUTO, candidates) if len(candidates) > 1 else (candidates[0], ())


def hints(  # the fields of Hints, as Client.submit has them
    candidates: tuple[str, ...],
    words: bool,  # noqa: FBT001  # one of them
    prompt: str,
    hotwords: Collection[str],
    temperature: float | None,
    options: Mapping[str, Option] | None,
    text: str,
) -> Hints | None:
    """What the engine is told beyond languages and services; None if that is nothing. Raises INVALID_MESSAGE."""
    if not (candidates or words or prompt or hotwords or options or text) and temperature is None:
        return None
    try:
        return Hints(
            candidates=candidates,
            words=words,
            prompt=prompt,
            hotwords=(hotwords,) if isinstance(hotwords, str) else tuple(hotwords),
            temperature=temperature,
            options=dict(options or {}),
            text=text,
        )
    except (TypeError, ValueError) as error:
        raise SchedError(Code.INVALID_MESSAGE, f"the job's description is not valid: {error}") from None


@functools.lru_cache(1_024)
def _checked_language(tag: str) -> str:
    return msgspec.convert(tag, Language)


@functools.lru_cache(1_024)
def services(src: str, tgt: str, *, speech: bool, is_text: bool = False) -> tuple[str, ...]:
    """What a job from one language to another needs, sorted: another language is translated, ``speech`` spoken.

    ``is_text``: nothing has to be recognised.
    """
    wanted = [*([] if is_text else [ASR]), *([MT] if src != tgt else []), *([TTS] if speech else [])]
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


def index(number: int, what: str) -> int:
    """The number itself. Raises SchedError INVALID_MESSAGE if it is no index; ``what`` it is called."""
    try:
        return msgspec.convert(number, Index)
    except msgspec.ValidationError:
        raise SchedError(Code.INVALID_MESSAGE, f"{what} is a whole number from 0 on, not {number!r}") from None


def name_of(audio: AudioSource) -> str:
    """What people call it: the end of its path, of which a file system may have made bytes that are no text."""
    name = os.fspath(audio) if isinstance(audio, str | os.PathLike) else ""
    return os.fsdecode(name)[-MAX_TEXT:].encode(errors="replace").decode()
