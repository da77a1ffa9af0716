"""Audio as it travels and runs: 16 kHz mono signed 16-bit samples."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""Of shape (samples,)."""
