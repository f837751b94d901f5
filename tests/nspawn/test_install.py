"""The README's own commands, in its order, on a machine that has nothing: a service with one's own
topic, a mistake in the configuration, an upgrade, the way back, and everything gone again.

What pip would download is there already, so that nothing is: a new venv sees the test's packages.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalyd.demo.listener import fetch, scrape
from tests.broker.daemon import HOST, publish, reading
from tests.conftest import OPEN_TO_ALL
from tests.nspawn.machine import ROOT, VENV, Machine, require_nspawn, wait_until
from tests.programs import Mosquitto, free_port, require, running

README = (ROOT / "README.md").read_text()
CONFIG = "/etc/anomalyd/anomalyd.toml"
SOURCE = Path("/opt/source")
SOON_S = 30.0
PARTS = ("anomalyd", "systemd", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
_LAB = "/opt/lab"
_PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
# 0, because pip takes this one as the value of "build isolation".
_OFFLINE = "export PIP_NO_DEPS=1 PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0"
_SUDO = f"""#!/bin/sh
# Who runs it is root already. A new venv has no packages: it sees those of the test.
"$@" || exit
case "$*" in *"-m venv "*) echo {_LAB}/{_PACKAGES} > "$4/{_PACKAGES}/lab.pth" ;; esac
"""


class Newcomer:
    """Types what the README says, in the folder of a source distribution."""

    def __init__(self, machine: Machine, broker: Mosquitto) -> None:
        self.machine = machine
        self.broker = broker
        self.port = free_port()

    def type(self, commands: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        way = "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        script = f"set -e\n{way}\n{_OFFLINE}\ncd {SOURCE}\n{commands}"
        return self.machine.run("sh", "-c", script, check=check)

    def until(self, metric: str, least: float) -> None:
        wait_until(
            lambda: scrape(HOST, self.port).get(metric, 0.0) >= least,
            SOON_S,
            lambda: self.machine.journal("-u", "anomalyd"),
        )

    def says(self, sensor: str, readings: int) -> None:
        now = time.time()
        publish(self.broker, [reading(sensor, now + n / 1000, 1.0 + n) for n in range(readings)])

    def version(self) -> str:
        page = fetch(HOST, self.port, "/metrics") or ""
        return "".join(re.findall(r'anomalyd_build_info\{version="(.*?)"\}', page))


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    require_nspawn()
    require("mosquitto", "mosquitto")
    _require_python()
    broker, directory = (tmp_path / each for each in ("broker", "machine"))
    source = directory / "files" / SOURCE.relative_to("/")
    for each in (broker, source):
        each.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    with (
        running(Mosquitto(broker, OPEN_TO_ALL)) as mosquitto,
        Machine(directory, f"newcomer-{os.getpid()}") as machine,
    ):
        machine.run("rm", "-rf", "/etc/systemd/system/anomalyd.service")
        machine.run("rm", "-rf", "/etc/systemd/system/anomalyd@.service")
        machine.run("mv", str(VENV.parent), _LAB)
        packages = f"{_LAB}/{VENV.name}/{_PACKAGES}"
        machine.run("sh", "-c", f"rm -rf {packages}/anomalyd* {packages}/*__editable__*anomalyd*")
        machine.run("ln", "-s", f"{VENV.name}/lib", f"{_LAB}/lib")
        machine.write("/usr/local/bin/sudo", _SUDO)
        machine.run("chmod", "755", "/usr/local/bin/sudo")
        yield Newcomer(machine, mosquitto)


@pytest.mark.timeout(300)
def test_from_the_readme_alone(newcomer: Newcomer) -> None:
    install = _commands("python3 -m venv /opt")
    own = _toml().replace("port = 1883", f"port = {newcomer.broker.port}")
    own += f"\n[http]\nport = {newcomer.port}\n"
    newcomer.machine.write(f"{SOURCE}/anomalyd.toml", own)
    newcomer.type(install)
    newcomer.until("anomalyd_mqtt_connected", 1)
    newcomer.says("line1/pump1/flow", 5)
    newcomer.until("anomalyd_readings_scored_total", 5)
    assert "0.1.0" == newcomer.version()
    _a_mistake_is_explained_and_changes_nothing(newcomer)
    _an_upgrade_and_the_way_back_keep_what_was_learnt(newcomer, install.splitlines()[0])
    newcomer.type(_commands("disable --now"))
    left = "ls -d /opt/anomalyd /etc/anomalyd /var/lib/*/anomalyd /etc/systemd/system/anomalyd*"
    assert "" == newcomer.type(left, check=False).stdout
    assert "not-found" == newcomer.machine.show("anomalyd", "LoadState")


def _a_mistake_is_explained_and_changes_nothing(newcomer: Newcomer) -> None:
    check = f"anomalyd check --config {CONFIG}"
    assert "alerts.budget_per_week" in newcomer.type(check).stdout
    newcomer.type(f"sed -i 's/^budget_per_week.*/budget_per_wek = 1/' {CONFIG}")
    found = newcomer.type(check, check=False)
    assert 2 == found.returncode
    assert "alerts.budget_per_wek" in found.stderr
    assert "budget_per_week" in found.stderr
    newcomer.type("sudo systemctl reload anomalyd", check=False)
    status = "systemctl status anomalyd"
    journal = newcomer.machine.journal
    wait_until(lambda: "not reloaded: " in newcomer.type(status).stdout, SOON_S, journal)
    newcomer.type(f"sed -i 's/^budget_per_wek.*/budget_per_week = 0.5/' {CONFIG}")
    newcomer.type(f"{check} && sudo systemctl reload anomalyd")
    budget = "reloaded: alerts.budget_per_week"
    wait_until(lambda: budget in journal("-u", "anomalyd"), SOON_S, journal)


def _an_upgrade_and_the_way_back_keep_what_was_learnt(newcomer: Newcomer, build: str) -> None:
    turn = _commands("ln -sfn 0.2.0")
    newcomer.type("sed -i s/0.1.0/0.2.0/ anomalyd/__init__.py")
    newcomer.type(build.replace("0.1.0", "0.2.0"))
    for version, command in (("0.2.0", turn), ("0.1.0", turn.replace("0.2.0", "0.1.0"))):
        newcomer.type(command)
        assert version == newcomer.version()
        newcomer.until("anomalyd_state_channels_restored", 1)


def _commands(part: str) -> str:
    """The README's block of commands that has `part` in it."""
    blocks = re.findall(r"(?:^    .*\n)+", README, flags=re.M)
    (found,) = [block for block in blocks if part in block]
    return "".join(line.removeprefix("    ") for line in found.splitlines(keepends=True))


def _toml() -> str:
    """The README's first configuration, of one's own broker and topic."""
    return README.partition("```toml\n")[2].partition("```")[0]


def _require_python() -> None:
    """The system's own, as a service can't read one in somebody's home."""
    here = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
    done = subprocess.run(["/usr/bin/python3", "-c", here], capture_output=True, text=True)
    if done.stdout.split() != [str(part) for part in sys.version_info[:2]]:
        pytest.skip("/usr/bin/python3 is not of this version, or lacks venv: install python3-venv")
