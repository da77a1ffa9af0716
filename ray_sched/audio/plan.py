"""What a look at a container found: which bytes are to be decoded how, and whether any are missing."""

from msgspec import Struct, field

from ray_sched.audio.window import Window


class Part(Struct, frozen=True, kw_only=True):
    """Bytes that one decoder reads from beginning to end; joined files have several."""

    stream: Window
    demuxer: str
    """FFmpeg's name of the container; never guessed from the content by FFmpeg."""
    options: dict[str, str] = field(default_factory=dict)
    """Of the demuxer, such as the rate of samples without a header."""
    tracks: tuple[tuple[int, int], ...] = ()
    """Where in the stream the first and the last block of each track is; none where a container has no blocks."""
    promised_s: float | None = None
    """Seconds that must come out, by lengths that were found; fewer are an error. None where nothing says it."""


class Plan(Struct, kw_only=True):
    """How an audio will be decoded. Nothing is decoded yet."""

    container: str
    parts: list[Part]
    notes: list[str] = field(default_factory=list)
    end: int | None = None
    """Where its bytes end, if other ones follow that may be another file; None if it has all of them."""
    cut: str | None = None
    """What is missing, as the predicate of a sentence; such audio is refused unless a part is enough."""
    is_open: bool = False
    """It ends without the mark that its kind has for that: it is taken, and reported as perhaps not whole."""
    duration_s: float | None = None
    """From the lengths that were found, where they say it exactly: what is too long is refused before it is decoded."""
    about_s: float = 0.0
    """The same where they are no more than an estimate; 0 where nothing is known. Decides nothing."""

    def join(self, other: "Plan") -> None:
        """The plan of a file that was joined to this one."""
        for part in other.parts:
            self.add(part)
        self.notes.extend(note for note in other.notes if note not in self.notes)
        self.cut = self.cut or other.cut
        self.is_open = self.is_open or other.is_open
        self.about_s += other.about_s
        self.end = other.end

    def add(self, part: Part) -> None:
        """One more part; the duration is known as long as that of each part is."""
        before = self.duration_s if self.parts else 0.0
        self.parts.append(part)
        self.duration_s = None if before is None or part.promised_s is None else before + part.promised_s
