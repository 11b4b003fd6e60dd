"""Ranks in pods of Kubernetes: the job's name, each rank's GPU, and what its cgroup denied it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from offbeat.collector.launched import Launched

if TYPE_CHECKING:
    from offbeat.collector.launches import Launch

_NAMES = ("VC_JOB_NAME", "JOB_NAME", "PYTORCH_JOB_NAME")
"""Variables by which operators call their jobs, as far as they do."""
_MEMBER = re.compile(r"(?:-(?:master|worker|launcher|node|head))?(?:-\d{1,6}){1,3}(?:-[a-z0-9]{5})?")


class KubernetesSource(Launched):
    """Rows of `jobs` and `ranks`; gauges of device kind `process`."""

    name = "kubernetes"
    sampled = True

    def name_of(self, launch: Launch) -> str | None:
        """Return the job's name, from its operator or from the pod's; None for a rank that is in no pod."""
        environment = launch.environment
        if "KUBERNETES_SERVICE_HOST" not in environment:
            return None
        given = next((value for name in _NAMES if (value := environment.get(name))), None)
        return given or job_of_pod(environment.get("HOSTNAME", ""))


def job_of_pod(pod: str) -> str:
    """Return a pod's name without what tells it from the other pods of its job, such as `-worker-3`."""
    for found in _MEMBER.finditer(pod):
        if found.end() == len(pod) and found.start() > 0:
            return pod[: found.start()]
    return pod
