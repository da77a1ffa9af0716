"""How a process that decodes is started: our own program, with nothing of this one but the files it is given."""

import os
import subprocess
import sys

_START = (
    "import os, sys; os.environ['OPENBLAS_NUM_THREADS'] = '1'; sys.path[:] = sys.argv[4:]; "
    "from ray_sched.audio.{module} import main; main(*map(int, sys.argv[1:4]))"
)
"""It gets this process's sys.path, in which ray_sched was found."""


def start_decoder(module: str, channel: int, file: int, stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start ``main`` of a module of ``ray_sched.audio`` with the numbers of its socket and its file."""
    numbers = (channel, file)
    return subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-c", _START.format(module=module), *map(str, (*numbers, os.getpid())), *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=numbers,
        start_new_session=True,
    )
