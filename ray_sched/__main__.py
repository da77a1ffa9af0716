"""``python -m ray_sched``: the command line."""

from ray_sched.cli.main import run

if __name__ == "__main__":
    run()
