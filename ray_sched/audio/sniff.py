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
_BLANK = b"\0\r\n\t "
_BOM = b"\xef\xbb\xbf"
_SEARCHED_BYTES = 2**20
_FORMATS = "WAV, FLAC, OGG, MP3, M4A, WebM, AIFF, AMR or WMA"


def begin(stream: BinaryIO, n_bytes: int, name: str) -> tuple[str, int]:
    """The kind of a file, and where it begins: after tags, a byte-order mark or blank bytes that stand before it.

    Raises SchedError INVALID_AUDIO for what is no audio.
    """
    head = bytes_at(stream, 0, HEAD_BYTES)
    if not head:
        raise invalid(f"{name} is empty; record it again")
    start = _after_prelude(stream, n_bytes)
    kind = _magic_of(bytes_at(stream, start, HEAD_BYTES))
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
    """Whether bytes are text in UTF-8, or in UTF-16 with a byte-order mark."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: len(head) & ~1].decode("utf-16", errors="replace")
        return _is_printable(text.rstrip("\N{REPLACEMENT CHARACTER}"))
    text = head.decode("utf-8", errors="replace")
    return _is_printable(text.removeprefix("\ufeff").rstrip("\N{REPLACEMENT CHARACTER}"))


def tag_size(head: bytes) -> int:
    """Bytes of the ID3 tag that begins here; 0 if none does."""
    if head[:3] != b"ID3" or len(head) < 10:  # noqa: PLR2004  the tag's own header
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _after_prelude(stream: BinaryIO, n_bytes: int) -> int:
    """Where the first byte is that is neither blank nor a tag; 0 if there is none within reason."""
    at = 0
    while at < min(n_bytes, 16 * _SEARCHED_BYTES):
        head = bytes_at(stream, at, HEAD_BYTES)
        skipped = tag_size(head) or (len(_BOM) if head.startswith(_BOM) else len(head) - len(head.lstrip(_BLANK)))
        if skipped == 0 or _magic_of(head):
            return at
        at += skipped
    return 0


def _magic_of(head: bytes) -> str | None:
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    is_ts = len(head) > 2 * _TS_PACKET and head[0] == head[_TS_PACKET] == head[2 * _TS_PACKET] == ord("G")
    return "mpegts" if is_ts else None


def _is_printable(text: str) -> bool:
    return text.replace("\ufeff", "").replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
