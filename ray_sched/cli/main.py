"""The entry point. Everything is imported inside it, so that Ctrl-C has a sentence from the first moment on."""

import signal
import sys


def run() -> None:
    """Run the command line of this process and exit."""
    try:
        from ray_sched.cli.app import app

        app()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("ray-sched: interrupted\n")
        from ray_sched.cli.exit_codes import INTERRUPTED

        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing but the interpreter is left to be stopped
