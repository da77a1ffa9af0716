"""Audio of which a listener can say what is missing: a tone for each tenth of a second."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_TONE_S = 0.1
_N_TONES = 12


def melody(seconds: float, rate_hz: int = 16_000, channels: int = 1) -> Floats:
    """Twelve tones from 300 to 1 400 Hz, over and over; each channel a little softer. Shape (n, channels)."""
    n = round(seconds * rate_hz)
    frequency = 300 + 100 * (np.floor(np.arange(n) / rate_hz / _TONE_S + 1e-9) % _N_TONES)
    wave = 0.4 * np.sin(2 * np.pi * np.cumsum(frequency) / rate_hz)
    gains = np.linspace(1, 0.6, channels)
    return (wave[:, None] * gains[None, :]).astype(np.float32)


def tones_of(seconds: float) -> list[int]:
    """The numbers of the tones that a melody of this length has."""
    return [i % _N_TONES for i in range(round(seconds / _TONE_S))]


def heard(samples: NDArray[np.int16]) -> list[int]:
    """The numbers of the tones in samples at 16 kHz, each once for as long as it sounds."""
    window, step = 640, 160
    found: list[int] = []
    last, n_same = -1, 0
    for start in range(0, len(samples) - window + 1, step):
        piece = samples[start : start + window] * np.hanning(window)
        strongest = np.abs(np.fft.rfft(piece, 8 * window)).argmax() * 16_000 / (8 * window)
        tone = round((strongest - 300) / 100) if np.abs(piece).max() > 500 else -1
        n_same = n_same + 1 if tone == last else 1
        last = tone
        if n_same == 3 and tone >= 0:
            found.append(tone)
    return found
