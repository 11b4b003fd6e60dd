"""What runs the agent on nodes: the systemd unit and the DaemonSet."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from offbeat.settings import AgentSettings

PACKAGING = Path(__file__).parents[2] / "packaging"
MANIFEST = PACKAGING / "kubernetes/offbeat-agent.yaml"


def test_systemd_takes_the_unit(tmp_path):
    """The service manager finds nothing wrong with the unit."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze")
    done = subprocess.run(
        [program, "verify", PACKAGING / "offbeat-agent.service"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.fixture
def pod():
    """Give what the DaemonSet says of its pods."""
    yaml = pytest.importorskip("yaml")
    parts = {part["kind"]: part for part in yaml.safe_load_all(MANIFEST.read_text())}
    assert set(parts) == {"Namespace", "ServiceAccount", "DaemonSet"}
    assert parts["ServiceAccount"]["automountServiceAccountToken"] is False
    return parts["DaemonSet"]["spec"]["template"]["spec"]


def test_the_pod_has_no_more_rights_than_it_needs(pod):
    """No privileged container, no cluster token, a read-only root, and capabilities that the systemd unit has, too."""
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert rights["privileged"] is rights["allowPrivilegeEscalation"] is pod["automountServiceAccountToken"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["capabilities"]["drop"] == ["ALL"]
    unit = re.search(r"^CapabilityBoundingSet=(.*)$", (PACKAGING / "offbeat-agent.service").read_text(), re.MULTILINE)[
        1
    ]
    assert {f"CAP_{name}" for name in rights["capabilities"]["add"]} <= set(unit.split())
    assert pod["hostPID"] is pod["hostNetwork"] is True


def test_the_pod_uses_the_agent_s_own_settings(pod):
    """Its variables are settings that exist, and its volumes are where the agent puts rings and spool by default."""
    (container,) = pod["containers"]
    names = {
        item["name"].removeprefix("OFFBEAT_").lower() for item in container["env"] if item["name"][:8] == "OFFBEAT_"
    }
    assert names - {"config"} <= set(AgentSettings.model_fields)
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert Path(places["rings"]) == AgentSettings.model_fields["ring_dir"].default
    assert places["spool"] == "/var/lib/offbeat"  # where root's spool is
    hosts = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    assert hosts == places
