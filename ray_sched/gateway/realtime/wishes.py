"""What a client says: its messages, and its wishes for the session, which are merged into what there is.

What is absent from an update stays, null switches off, and what is unknown is ignored. A wish of the wrong type is
refused as a whole, with the field that is wrong.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

ReadT = TypeVar("ReadT")
_MAX_TEXT = 4_000
_Text = Annotated[str, Meta(max_length=_MAX_TEXT)]
_Tag = Annotated[str, Meta(max_length=80)]
_Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]


class WishError(Exception):
    """A message is refused, with one sentence; nothing has changed."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        """``param``: the field that is wrong."""
        super().__init__(message)
        self.param = param
        self.code = code


class FormatWish(Struct, frozen=True):
    """``audio.input.format``."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] | UnsetType = UNSET
    rate: Literal[24_000, 16_000, 8_000] | UnsetType | None = UNSET


class TranscriptionWish(Struct, frozen=True):
    """``audio.input.transcription``."""

    model: _Tag | UnsetType = UNSET
    language: _Tag | UnsetType | None = UNSET
    languages: Annotated[list[_Tag], Meta(max_length=100)] | UnsetType | None = UNSET
    prompt: _Text | UnsetType | None = UNSET
    keywords: Annotated[list[_Tag], Meta(max_length=100)] | UnsetType | None = UNSET


class TurnWish(Struct, frozen=True):
    """``audio.input.turn_detection``."""

    type: Literal["server_vad", "semantic_vad"] | UnsetType = UNSET
    threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    prefix_padding_ms: _Milliseconds | UnsetType = UNSET
    silence_duration_ms: _Milliseconds | UnsetType = UNSET
    idle_timeout_ms: Annotated[int, Meta(ge=1_000, le=3_600_000)] | UnsetType | None = UNSET
    eagerness: Literal["low", "medium", "high", "auto"] | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class InputWish(Struct, frozen=True):
    """``audio.input``."""

    format: FormatWish | UnsetType = UNSET
    transcription: TranscriptionWish | UnsetType | None = UNSET
    turn_detection: TurnWish | UnsetType | None = UNSET
    noise_reduction: dict[str, Any] | UnsetType | None = UNSET


class OutputWish(Struct, frozen=True):
    """``audio.output`` of a translation."""

    language: _Tag | UnsetType = UNSET


class AudioWish(Struct, frozen=True):
    """``audio``."""

    input: InputWish | UnsetType = UNSET
    output: OutputWish | UnsetType = UNSET


class SessionWish(Struct, frozen=True):
    """``session`` of an update."""

    audio: AudioWish | UnsetType = UNSET
    include: Annotated[list[_Tag], Meta(max_length=10)] | UnsetType | None = UNSET
    output_modalities: Annotated[list[Literal["text", "audio"]], Meta(max_length=2)] | UnsetType = UNSET
    """Of a translation, beyond what OpenAI has: only text, where no node speaks the language."""


class ClientMessage(Struct, frozen=True):
    """Any message of a client."""

    type: Annotated[str, Meta(max_length=100)]
    event_id: Annotated[str, Meta(max_length=512)] | None = None
    audio: str = ""
    """Base64."""
    session: msgspec.Raw = msgspec.Raw(b"{}")
    """A SessionWish, which is read when the message is known, so that its error names it."""


_message, _wish = msgspec.json.Decoder(ClientMessage), msgspec.json.Decoder(SessionWish)
_PATH = re.compile(r"`\$\.?(.*)`$")


def read_message(text: str) -> ClientMessage:
    """What a frame holds. Raises WishError for what is no such message."""
    return _read(_message, text, "")


def read_wish(message: ClientMessage) -> SessionWish:
    """What an update wishes. Raises WishError for what is of the wrong type."""
    return _read(_wish, message.session, "session.")


def _read(decoder: msgspec.json.Decoder[ReadT], text: str | msgspec.Raw, prefix: str) -> ReadT:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        sentence, _, place = str(error).partition(" - at ")
        found = _PATH.match(place)
        param = f"{prefix}{found.group(1)}" if found else prefix.rstrip(".") or None
        raise WishError(f"a field is wrong: {sentence}", param=param) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise WishError("this is no JSON object; send one event in each message", code="invalid_json") from None


def merged(there: Any, wish: Struct) -> dict[str, Any]:
    """A part of the session's configuration with a wish merged into it."""
    made = dict(there or {})
    for name in wish.__struct_fields__:
        value = getattr(wish, name)
        if value is UNSET:
            continue
        made[name] = merged(made.get(name), value) if isinstance(value, Struct) else value
    return made
