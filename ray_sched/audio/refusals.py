"""The sentences with which audio is refused: each names the audio and says what to do."""

from ray_sched.audio.report import MIN_RATE_HZ, Limits
from ray_sched.core.errors import Code, SchedError


def invalid(sentence: str) -> SchedError:
    """INVALID_AUDIO with this sentence, which names the audio and says what to do."""
    return SchedError(Code.INVALID_AUDIO, sentence)


def check_duration(n_frames: int, rate_hz: int, name: str, max_duration_s: float) -> None:
    """Raises SchedError INVALID_AUDIO for audio that is longer than is taken."""
    if n_frames > max_duration_s * rate_hz:
        raise invalid(
            f"{name} is {n_frames / rate_hz:.0f} s long and at most {max_duration_s:g} s are taken; cut it into parts"
        )


def check_shape(rate_hz: int, channels: int, name: str, limits: Limits) -> None:
    """Raises SchedError INVALID_AUDIO for a rate, or a number of channels, that no speech has."""
    if not MIN_RATE_HZ <= rate_hz <= limits.max_rate_hz:
        raise invalid(f"the rate of {name} is {rate_hz} Hz; it must be from {MIN_RATE_HZ} to {limits.max_rate_hz} Hz")
    if not 1 <= channels <= limits.max_channels:
        raise invalid(f"{name} has {channels} channels; give one with 1 to {limits.max_channels}")
    if rate_hz * channels > limits.max_values_per_s:
        raise invalid(f"{name} has {channels} channels at {rate_hz} Hz, too many at once; give fewer, or a lower rate")


def empty(name: str) -> SchedError:
    """The refusal of audio without a sample."""
    return invalid(f"{name} holds no audio, only a header; record it again")


def too_short(name: str) -> SchedError:
    """The refusal of audio that has samples, but not one of them at 16 kHz."""
    return invalid(f"{name} is shorter than a sixteenth of a millisecond; record it again")


def undecodable(name: str) -> SchedError:
    """The refusal of bytes that no decoder makes sense of."""
    return invalid(f"{name} cannot be decoded, it is damaged or of an unknown kind; convert it to WAV")
