"""The image as it was built runs without privileges: read-only, no capabilities, no network, not
root. `make container-test` builds it and names it in ANOMALYD_IMAGE; without that it is skipped."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.programs import require

# runc, because a nested machine may have no cgroups for crun to manage; the limits that podman
# would set by itself are more than such a machine may give.
RUN = ["--runtime", "runc", "run", "--rm", "--network", "none", "--read-only"]
RUN += ["--cap-drop", "all", "--security-opt", "no-new-privileges"]
RUN += ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096"]
READY_WITHIN_S = 60.0

CONFIG = """
[[streams]]
topic = "plant/{sensor}"
[state]
directory = "/var/lib/anomalyd"
"""

HEALTHY = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/-/healthy').status)"


@pytest.fixture(scope="module")
def image() -> str:
    name = os.environ.get("ANOMALYD_IMAGE")
    if not name:
        pytest.skip("no image: make container-test builds one and runs these")
    require("podman", "podman")
    require("runc", "runc")
    return name


def _podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = require("podman", "podman")
    return subprocess.run([program, *arguments], capture_output=True, text=True)


def _inside(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return _podman("--runtime", "runc", "exec", name, *command)


def _inspect(image: str, format: str) -> str:
    return _podman("image", "inspect", "--format", format, image).stdout.strip()


def test_it_is_not_root_and_knows_how_it_is(image: str) -> None:
    assert "64000:64000" == _inspect(image, "{{.Config.User}}")
    assert "/-/healthy" in _inspect(image, "{{.HealthCheck}}")


@pytest.mark.timeout(300)
def test_the_demo_inside_it_passes(image: str) -> None:
    found = _podman(*RUN, image, "demo")
    assert 0 == found.returncode, found.stdout + found.stderr


def test_it_is_soon_ready(image: str, tmp_path: Path) -> None:
    """And the process is nobody, on a file system that nothing can be written to."""
    tmp_path.chmod(0o755)
    config = tmp_path / "anomalyd.toml"
    config.write_text(CONFIG)
    name = f"anomalyd-test-{os.getpid()}"
    mount = f"{config}:/etc/anomalyd/anomalyd.toml:ro"
    began = time.monotonic()
    started = _podman(*RUN, "--detach", "--name", name, "-v", mount, image)
    assert 0 == started.returncode, started.stderr
    try:
        while "200" not in _inside(name, "python", "-c", HEALTHY).stdout:
            logs = _podman("logs", name)
            assert time.monotonic() - began < READY_WITHIN_S, logs.stdout + logs.stderr
        print(f"healthy {time.monotonic() - began:.1f} s after podman run")
        assert "64000" == _inside(name, "id", "-u").stdout.strip()
        assert 0 != _inside(name, "touch", "/opt/anomalyd/tried").returncode
        assert (
            0
            == _podman(
                "--runtime", "runc", "exec", name, "touch", "/var/lib/anomalyd/tried"
            ).returncode
        )
    finally:
        _podman("stop", "--time", "10", name)
