"""Which engine a node's label names. Engines are imported only when a node asks for them, never all at once."""

import importlib
from difflib import get_close_matches

from ray_sched.agent.engine import Engine
from ray_sched.core.errors import Code, SchedError

ENGINES: dict[str, str] = {
    "echo": "ray_sched.agent.engines.echo.EchoEngine",
    "speech": "ray_sched.agent.engines.speech.SpeechEngine",
    "neural": "ray_sched.agent.engines.neural.NeuralEngine",
    "openai": "ray_sched.agent.engines.openai.OpenaiEngine",
}
"""The shipped engines: the name a label gives and the class it stands for."""

_PROTOCOL = ("isolation", "capability", "load", "admit", "run")


def find_engine(name: str) -> type[Engine]:
    """The class of an engine: one of ENGINES, or your own as ``package.module.Class``.

    Raises :class:`SchedError` (INVALID_CONFIGURATION) with what is wrong with the name.
    """
    if name in ENGINES:
        return _import_class(name, ENGINES[name])
    if "." in name:
        return _import_class(name, name)
    near = get_close_matches(name, ENGINES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}" if near else f"the shipped ones are {', '.join(ENGINES)}"
    raise _invalid(f"there is no engine {name!r}; {hint}, and your own is named package.module.Class")


def _import_class(name: str, path: str) -> type[Engine]:
    module_name, _, class_name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise _invalid(f"engine {name!r} cannot be imported on this node: {error}") from error
    engine = getattr(module, class_name, None)
    if not isinstance(engine, type):
        raise _invalid(f"engine {name!r} cannot be used: module {module_name} has no class {class_name}")
    if missing := [part for part in _PROTOCOL if not hasattr(engine, part)]:
        raise _invalid(f"engine {name!r} cannot be used: the class has no {', '.join(missing)}")
    return engine


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)
