"""The warm-up: each model of an engine that was loaded runs once before the engine counts as loaded.

A model's first run does what none does later: it reads weights that were only mapped, compiles, and takes memory. So
that no job waits for it, a node is ready when that run is over.
"""

import logging

import numpy as np

from ray_sched.agent.engine import Engine, ModelNotAvailableError, RefusedError, Work
from ray_sched.core.capability import ASR, AUTO
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ

log = logging.getLogger(__name__)

SILENCE_S = 1


def load_and_warm_up(engine: Engine) -> None:
    """Load the engine, then let it warm up, if its class says that it does. Raises what it raises.

    That a model is not there, or that it takes no job now, is left to be said of each job.
    """
    engine.load()
    try:
        if own := getattr(engine, "warm_up", None):
            own()
        elif getattr(engine, "warms_up", False):
            _run_on_silence(engine)
    except (ModelNotAvailableError, RefusedError) as error:
        log.warning("the engine does not warm up: %s", error)


def _run_on_silence(engine: Engine) -> None:
    languages = [tag for tag in engine.capability().asr if tag != AUTO]
    if languages:
        work = Work(job_id="warm-up", attempt=1, src=languages[0], tgt=languages[0], services=(ASR,))
        engine.run(work, np.zeros(SILENCE_S * SAMPLE_RATE_HZ, np.int16), lambda _text: None)
