"""The five shipped recordings as the load of a benchmark, and how well they were understood."""

import wave

import numpy as np

from ray_sched.bench.load import WrongEchoError
from ray_sched.data import samples
from ray_sched.data.word_errors import word_error_rate
from ray_sched.wire.samples import Samples

_NONSENSE = 0.9
"""Word errors: what has more was said in no recording."""


class Speech:
    """The recordings in turn, each time as an array of its own, so that nothing can send one object for two jobs."""

    def __init__(self) -> None:
        self._audios = []
        for sample in samples():
            with wave.open(str(sample.path)) as file:
                self._audios.append(np.frombuffer(file.readframes(file.getnframes()), np.int16))
        self._transcripts = [sample.transcript for sample in samples()]
        self._heard: dict[str, str] = {}
        """The transcript of each text that came back."""
        self.pairs: list[tuple[str, str]] = []
        """Transcript and text of each utterance."""

    def __getitem__(self, number: int) -> Samples:
        return self._audios[number % len(self._audios)].copy()

    def check(self, text: str) -> None:
        """Find the transcript it is nearest to. Raises WrongEchoError for what nobody has said."""
        if text not in self._heard:
            errors = {transcript: word_error_rate([(transcript, text)]) for transcript in self._transcripts}
            nearest = min(errors, key=errors.__getitem__)
            if errors[nearest] > _NONSENSE:
                raise WrongEchoError(f"{text!r} was heard, which is in none of the recordings")
            self._heard[text] = nearest
        self.pairs.append((self._heard[text], text))

    @property
    def errors_percent(self) -> float:
        """Word errors in all that came back."""
        return round(100 * word_error_rate(self.pairs), 1) if self.pairs else 0.0
