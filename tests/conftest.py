"""Before anything imports Ray: the environment that every cluster of this process shares."""

from ray_sched.system.local import prepare_environment

prepare_environment()
