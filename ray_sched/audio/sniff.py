"""Which kind of file it is, from its first bytes; a name's ending is never believed."""

from ray_sched.audio.refusals import invalid

HEAD_BYTES = 4096

_MAGIC = (
    (0, b"RIFF", "riff"), (0, b"RIFX", "riff"), (0, b"RF64", "riff"), (0, b"BW64", "riff"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"), (0, b"fLaC", "flac"), (0, b"OggS", "ogg"), (0, b"FORM", "aiff"),
    (0, b"caff", "caf"), (0, b".snd", "au"), (4, b"ftyp", "mp4"), (4, b"moov", "mp4"), (4, b"mdat", "mp4"),
    (4, b"wide", "mp4"), (4, b"skip", "mp4"), (4, b"free", "mp4"), (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"), (0, b"#!AMR", "amr"), (0, b"FLV\x01", "flv"), (0, b"\0\0\1\xba", "mpeg"),
)  # fmt: skip


def kind_of(head: bytes, name: str) -> str:
    """The kind of a file that begins with these bytes. Raises SchedError INVALID_AUDIO for what is no audio."""
    if not head:
        raise invalid(f"{name} is empty; record it again")
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if is_text(head):
        raise invalid(f"{name} is a text, not audio; give an audio file, or raw samples together with sample_rate_hz")
    if may_be_mpeg(head) or head.startswith(b"ID3"):
        return "mpeg-audio"
    raise invalid(
        f"{name} is not in a known audio format; give WAV, FLAC, OGG, MP3 or M4A,"
        " or raw samples together with sample_rate_hz"
    )


def has_header(head: bytes) -> bool:
    """Whether bytes begin as an audio file does; an MP3 without a tag looks like samples and does not count."""
    return any(head[at : at + len(magic)] == magic for at, magic, _ in _MAGIC) or head.startswith(b"ID3")


def may_be_mpeg(head: bytes) -> bool:
    """Whether bytes begin as a frame of MP3 or ADTS does."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0  # noqa: PLR2004  eleven bits of sync


def is_text(head: bytes) -> bool:
    """Whether bytes are text in UTF-8, or in UTF-16 with a byte-order mark."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: len(head) & ~1].decode("utf-16", errors="replace")
        return _is_printable(text[:-1] or text)
    text = head.decode("utf-8", errors="replace")
    return _is_printable(text.rstrip("\N{REPLACEMENT CHARACTER}"))


def _is_printable(text: str) -> bool:
    return text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
