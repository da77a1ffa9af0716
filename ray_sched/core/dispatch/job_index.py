"""Where jobs are found: by id, by request, and by the nodes that have an attempt of theirs. It changes no job."""

from ray_sched.core.job import Job

Request = tuple[str, str]
"""Client id and the client's own id for its request."""


class JobIndex:
    """All jobs that are known. A node without jobs takes no room."""

    def __init__(self) -> None:
        self.by_id: dict[str, Job] = {}
        self._by_request: dict[Request, str] = {}
        self._on_node: dict[str, dict[str, Job]] = {}
        self._fenced_on: dict[str, dict[str, Job]] = {}

    def add(self, job: Job) -> None:
        """A job is known from now on, by its id, its request, and the nodes of its fenced attempts.

        A request that had become a job before is the new one from now on, unless only the old one has not ended.
        """
        self.by_id[job.job_id] = job
        known = self.of_request(job.client_id, job.spec.request_id)
        if known is None or known.is_terminal or not job.is_terminal:
            self._by_request[job.client_id, job.spec.request_id] = job.job_id
        for fenced in job.fenced:
            self.add_fenced(job, fenced.node)

    def remove(self, job: Job) -> None:
        """A job is known no more."""
        del self.by_id[job.job_id]
        request = (job.client_id, job.spec.request_id)
        if self._by_request.get(request) == job.job_id:
            del self._by_request[request]
        self.take_off_node(job)
        for fenced in job.fenced:
            self.remove_fenced(job, fenced.node)

    def of_request(self, client_id: str, request_id: str) -> Job | None:
        """The job that a client's request has become: of several, after failures, the newest."""
        return self.by_id.get(self._by_request.get((client_id, request_id), ""))

    def put_on_node(self, job: Job) -> None:
        """The current attempt is on the job's node."""
        self._on_node.setdefault(job.node, {})[job.job_id] = job

    def take_off_node(self, job: Job) -> None:
        """The current attempt is on the job's node no more."""
        _remove(self._on_node, job.node, job)

    def on_node(self, node: str) -> list[Job]:
        """Jobs assigned to a node, running there, or with speech there."""
        return list(self._on_node.get(node, {}).values())

    def n_on_nodes(self, client_id: str) -> int:
        """How many jobs of a client are on any node. Looks at all that are."""
        return sum(job.client_id == client_id for there in self._on_node.values() for job in there.values())

    def add_fenced(self, job: Job, node: str) -> None:
        """A node has not confirmed the end of an earlier attempt of a job."""
        self._fenced_on.setdefault(node, {})[job.job_id] = job

    def remove_fenced(self, job: Job, node: str) -> None:
        """A node has confirmed the end of all earlier attempts of a job."""
        _remove(self._fenced_on, node, job)

    def fenced_on(self, node: str) -> list[Job]:
        """Jobs of which a node has not confirmed the end of an earlier attempt."""
        return list(self._fenced_on.get(node, {}).values())

    def sizes(self) -> dict[str, int]:
        """How much each index holds."""
        return {
            "jobs": len(self.by_id),
            "requests": len(self._by_request),
            "nodes": len(self._on_node),
            "fenced": len(self._fenced_on),
        }


def _remove(jobs: dict[str, dict[str, Job]], node: str, job: Job) -> None:
    there = jobs.get(node)
    if there and there.pop(job.job_id, None) and not there:
        del jobs[node]
