"""Where the audio of each submission is: one entry of the ledger for each, moved at the moment the bytes move.

Samples that the user gave are kept until the job is over, and so is what samples are made of, such as the bytes of a
file. Audio behind a path or a callable is not. What are no samples is read for each push anew: then a copy of it is in
memory until it is packed, and on its way until the push has returned. A copy that is on its way stays there when its
job ends meanwhile; the entry is released after it. While there are copies, the entry counts them and not what is kept.
"""

from ray_sched.core.ledger import AudioState, Ledger


class _Audio:
    """The audio of one submission."""

    __slots__ = ("are_samples", "is_over", "kept_bytes", "n_bytes", "n_pushed", "n_read")

    def __init__(self, kept_bytes: int) -> None:
        self.kept_bytes = self.n_bytes = kept_bytes
        """``n_bytes``: of one copy; 0 before it was read."""
        self.are_samples = kept_bytes > 0
        """What is kept: no copy of it is made before it is pushed."""
        self.n_read = 0
        """Copies in memory that were read and are not pushed yet."""
        self.n_pushed = 0
        """Pushes under way, each with a copy of its own."""
        self.is_over = False

    @property
    def state(self) -> AudioState:
        if self.n_pushed:
            return AudioState.STORED
        if self.n_read or (self.kept_bytes and not self.is_over):
            return AudioState.HELD
        return AudioState.RELEASED if self.is_over else AudioState.DECLARED

    @property
    def n_bytes_now(self) -> int:
        n_copies = self.n_read + self.n_pushed
        return self.n_bytes * n_copies or self.kept_bytes


class AudioBook:
    """One entry of ``ledger`` for each submission, by its number."""

    def __init__(self) -> None:
        self.ledger: Ledger[int] = Ledger()
        self._audios: dict[int, _Audio] = {}

    def open(self, number: int, kept_bytes: int) -> None:
        """A submission is made. ``kept_bytes``: of samples that stay in memory; 0: there are none yet."""
        audio = self._audios[number] = _Audio(kept_bytes)
        self.ledger.open(number, audio.state, kept_bytes)

    def keep(self, number: int, n_bytes: int, *, are_samples: bool) -> None:
        """From now on so many bytes stay in memory until the job is over. Before any push of it."""
        audio = self._audios.get(number)
        if audio and n_bytes and not audio.is_over:
            audio.kept_bytes = n_bytes
            audio.n_bytes, audio.are_samples = (n_bytes, True) if are_samples else (0, False)
            self._settle(number, audio)

    def read(self, number: int, n_bytes: int) -> None:
        """The samples of a submission were read: a copy is in memory, unless they were kept there anyway."""
        audio = self._audios.get(number)
        if audio and not audio.are_samples:
            audio.n_bytes = n_bytes
            audio.n_read += 1
            self._settle(number, audio)

    def drop(self, number: int) -> None:
        """A copy that was read is dropped without being pushed."""
        audio = self._audios.get(number)
        if audio and not audio.are_samples:
            audio.n_read -= 1
            self._settle(number, audio)

    def push_began(self, number: int) -> None:
        """A push has begun, with the copy that was read, or a further copy of what is kept."""
        audio = self._audios[number]
        audio.n_read -= not audio.are_samples
        audio.n_pushed += 1
        self._settle(number, audio)

    def push_ended(self, number: int) -> None:
        """A push has returned, or was given up: its copy of the audio is freed."""
        audio = self._audios[number]
        audio.n_pushed -= 1
        self._settle(number, audio)

    def release(self, number: int) -> None:
        """The job is over: its audio is released; copies in a push when that has ended."""
        audio = self._audios.get(number)
        if audio and not audio.is_over:
            audio.is_over = True
            self._settle(number, audio)

    def _settle(self, number: int, audio: _Audio) -> None:
        state, n_bytes = audio.state, audio.n_bytes_now
        if state is self.ledger.state(number):
            self.ledger.resize(number, n_bytes)
        else:
            self.ledger.move(number, state, n_bytes)
        if state is AudioState.RELEASED:
            del self._audios[number]
