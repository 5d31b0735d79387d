"""What keeps a program out of a cluster, or an agent off a node: tokens, versions, no procorch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOrchestrator, ClusterError, RayBackend
from procorch.demo.cluster import LocalCluster
from tests.ray.conftest import LEASE, PATIENCE, Clusters

Make = Callable[..., AgentOrchestrator]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

OTHER_VERSION = """
import json, ray
from ray.experimental import internal_kv
ray.init(address=ADDRESS, log_to_driver=False)
key, space = b"CLUSTER_METADATA", b"cluster"
found = json.loads(internal_kv._internal_kv_get(key, namespace=space))
internal_kv._internal_kv_put(
    key, json.dumps({**found, "ray_version": "2.1.0"}), namespace=space, overwrite=True
)
"""
"""Has a cluster say that it was started with another version of Ray."""

NOT_INSTALLED = """
import sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "procorch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Finder)
"""


@pytest.fixture
def refused(orchestrator: Make, cluster: LocalCluster) -> Callable[..., ClusterError]:
    """Why an agent does not start, with these settings of the backend."""

    def start(**settings: Any) -> ClusterError:
        backend = RayBackend(cluster.address, lease=LEASE, **settings)
        orch = orchestrator(backend=backend)
        orch.add_agent("a", lambda: lambda x: x, start_timeout=PATIENCE)
        with pytest.raises(ClusterError) as raised:
            orch.spawn("a")
        orch.close(drain=False)
        return raised.value

    return start


def test_a_wrong_token_is_refused(
    refused: Callable[..., ClusterError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    error = refused()
    assert error.reason == "token", error
    assert "refuses the token" in str(error)


def test_a_cluster_with_another_version_of_ray_is_refused(
    refused: Callable[..., ClusterError], clusters: Clusters, cluster: LocalCluster, run_python: Run
) -> None:
    done = run_python(f"ADDRESS = {cluster.address!r}\n{OTHER_VERSION}", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    try:
        error = refused()
    finally:
        clusters.close()
    assert error.reason == "version", error
    assert "2.1.0" in str(error)


def test_a_node_with_another_version_of_procorch_is_refused(
    refused: Callable[..., ClusterError], tmp_path: Path
) -> None:
    """As its metadata says, which the node finds first."""
    metadata = tmp_path / "procorch-99.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: procorch\nVersion: 99.0\n")
    error = refused(runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}})
    assert error.reason == "handshake", error
    assert "has procorch 99.0" in str(error)


def test_a_node_with_another_version_of_python_is_refused(
    refused: Callable[..., ClusterError], tmp_path: Path
) -> None:
    """As far as procorch there can tell."""
    (tmp_path / "sitecustomize.py").write_text(
        "import platform\nplatform.python_version = lambda: '3.99.1'\n"
    )
    error = refused(runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}})
    assert error.reason == "handshake", error
    assert "has Python 3.99.1" in str(error)


def test_a_node_without_procorch_says_how_it_gets_there(
    refused: Callable[..., ClusterError], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    error = refused(runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}})
    assert error.reason == "node", error
    assert "install it there in the same version" in str(error)
