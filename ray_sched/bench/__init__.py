"""What ``ray-sched bench`` measures, and how. Each measurement starts a cluster of its own and leaves nothing."""
