"""Which kind of file it is, from its first bytes; a name's ending is never believed."""

from typing import BinaryIO

from ray_sched.audio.refusals import invalid
from ray_sched.audio.window import bytes_at

HEAD_BYTES = 4096

_MAGIC = (
    (8, b"AVI ", "avi"), (0, b"RIFF", "riff"), (0, b"RIFX", "riff"), (0, b"RF64", "riff"), (0, b"BW64", "riff"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"), (0, b"fLaC", "flac"), (0, b"OggS", "ogg"), (0, b"FORM", "aiff"),
    (0, b"caff", "caf"), (0, b".snd", "au"), (4, b"ftyp", "mp4"), (4, b"moov", "mp4"), (4, b"mdat", "mp4"),
    (4, b"wide", "mp4"), (4, b"skip", "mp4"), (4, b"free", "mp4"), (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"), (0, b"#!AMR", "amr"), (0, b"FLV\x01", "flv"), (0, b"\0\0\1\xba", "mpeg"),
)  # fmt: skip
_TS_PACKET = 188
_LEAST_RIGHT = 5
"""Of so many characters one may not be UTF-8."""
_BLANK = b"\0\r\n\t "
_BOM = b"\xef\xbb\xbf"
_SEARCHED_BYTES = 2**24
_FORMATS = "WAV, FLAC, OGG, MP3, M4A, WebM, AIFF, AMR or WMA"


def begin(stream: BinaryIO, at: int, n_bytes: int, name: str) -> tuple[str, int]:
    """The kind of a file that is at ``at``, and where it begins: after tags, a byte-order mark or blank bytes.

    Raises SchedError INVALID_AUDIO for what is no audio.
    """
    head = bytes_at(stream, at, HEAD_BYTES)
    if not head:
        raise invalid(f"{name} is empty; record it again")
    start = _after_prelude(stream, at, n_bytes)
    kind = kind_at(stream, start)
    if kind:
        return kind, start
    if is_text(head):
        raise invalid(f"{name} is a text, not audio; give {_FORMATS}, or raw samples together with sample_rate_hz")
    if may_be_mpeg(bytes_at(stream, start, 2)) or tag_size(head):
        return "mpeg-audio", start
    raise invalid(
        f"{name} is not in a known audio format; give {_FORMATS}, or raw samples together with sample_rate_hz"
    )


def has_header(head: bytes) -> bool:
    """Whether bytes begin as an audio file does; an MP3 without a tag looks like samples and does not count."""
    return _magic_of(head) is not None or head.startswith(b"ID3")


def may_be_mpeg(head: bytes) -> bool:
    """Whether bytes begin as a frame of MP3 or ADTS does."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0  # noqa: PLR2004  eleven bits of sync


def is_text(head: bytes) -> bool:
    """Whether bytes are text in UTF-8 or nearly so, as older ones are, or in UTF-16 with a byte-order mark."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: len(head) & ~1].decode("utf-16", errors="replace")
        return _is_printable(text.rstrip("\N{REPLACEMENT CHARACTER}"))
    text = head.decode("utf-8", errors="replace")
    is_mostly_right = text.count("\N{REPLACEMENT CHARACTER}") * _LEAST_RIGHT <= len(text)
    return is_mostly_right and _is_printable(text.rstrip("\N{REPLACEMENT CHARACTER}"))


def tag_size(head: bytes) -> int:
    """Bytes of the ID3 tag that begins here; 0 if none does."""
    if head[:3] != b"ID3" or len(head) < 10:  # noqa: PLR2004  the tag's own header
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def kind_at(stream: BinaryIO, at: int) -> str | None:
    """The kind of file whose header stands exactly here; None for MPEG frames, which have none, and for all else."""
    return _magic_of(bytes_at(stream, at, HEAD_BYTES))


def _after_prelude(stream: BinaryIO, start: int, n_bytes: int) -> int:
    """Where the first byte is that is neither blank nor a tag; ``start`` if there is none within reason."""
    at = start
    while at < min(n_bytes, start + _SEARCHED_BYTES):
        head = bytes_at(stream, at, HEAD_BYTES)
        skipped = tag_size(head) or (len(_BOM) if head.startswith(_BOM) else len(head) - len(head.lstrip(_BLANK)))
        if skipped == 0 or _magic_of(head):
            return at
        at += skipped
    return at if at < n_bytes else start


def _magic_of(head: bytes) -> str | None:
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    is_ts = len(head) > 2 * _TS_PACKET and head[0] == head[_TS_PACKET] == head[2 * _TS_PACKET] == ord("G")
    return "mpegts" if is_ts else None


def _is_printable(text: str) -> bool:
    return text.replace("\ufeff", "").replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
