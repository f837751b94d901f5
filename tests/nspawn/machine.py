"""A machine of its own with systemd as PID 1, and anomalyd installed in it as the README says.

systemd-nspawn boots an overlay of this machine's root: what the machine changes is kept in memory
and gone at the end. It shares the network, so a broker and a free port of the test serve it too.
The venv is built around this test's own Python and packages, readable to a service's user.
"""

import os
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.programs import require

ROOT = Path(__file__).parent.parent.parent
UNITS = ROOT / "systemd"
VENV = Path("/opt/anomalyd/venv")
_BASE = Path("/opt/anomalyd/python")
_UP_WITHIN_S = 60.0
_VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"

# In a mount namespace of its own: whatever happens, nothing of it stays mounted. The overlay's
# upper layer is in memory, as one that lies on an overlay itself is refused.
_BOOT = """
set -eu
mount -t tmpfs -o mode=755 tmpfs "$LAB"
mkdir -p "$LAB/up" "$LAB/wk" "$LAB/m" "$LAB/packages/up" "$LAB/packages/wk"
cp -a "$FILES/." "$LAB/up/"
chmod 755 "$LAB/up"
mount -t overlay overlay -o "lowerdir=/,upperdir=$LAB/up,workdir=$LAB/wk" "$LAB/m"
mount --bind "$BASE" "$LAB/m/opt/anomalyd/python"
packages="$LAB/m$VENV/lib/$VERSION/site-packages"
mount -t overlay overlay \\
    -o "lowerdir=$PACKAGES,upperdir=$LAB/packages/up,workdir=$LAB/packages/wk" "$packages"
rm -rf "$packages/anomalyd"
cp -a "$SOURCE" "$packages/anomalyd"
exec systemd-nspawn -q -D "$LAB/m" -M "$NAME" --register=no --keep-unit --console=pipe -b
"""

_PROGRAM = """#!/bin/sh
# What a venv's script does; Python's own library may not be where its loader looks.
LD_LIBRARY_PATH={base}/lib exec {venv}/bin/python -m anomalyd "$@"
"""

# Nothing of this machine but what a service stands on.
_TARGET = "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
_MASKED = (
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
    "systemd-udevd.service",
    "podman.socket",
    "getty.target",
)


def require_nspawn() -> None:
    """Skip, or fail in CI, where no machine can be booted."""
    require("systemd-nspawn", "systemd-container")
    require("nsenter", "util-linux")
    if os.geteuid() != 0:
        pytest.skip("not root: a machine of its own can't be booted")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("root may not mount here: a machine of its own can't be booted")


class Machine:
    """Use it as a context manager; it is powered off at the end."""

    def __init__(self, directory: Path, name: str) -> None:
        """`directory`: an empty one. `name`: no other machine's."""
        self._files = directory / "files"
        self._lab = directory / "lab"
        self._log = directory / "console.log"
        self._name = name
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0
        self._lab.mkdir()
        self._lay_out()

    def __enter__(self) -> Self:
        base = Path(sys.base_prefix)
        environment = {
            "PATH": os.environ["PATH"],
            "LAB": str(self._lab),
            "FILES": str(self._files),
            "BASE": str(base),
            "PACKAGES": site.getsitepackages()[0],
            "SOURCE": str(ROOT / "anomalyd"),
            "VENV": str(VENV),
            "VERSION": _VERSION,
            "NAME": self._name,
        }
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BOOT]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, _UP_WITHIN_S, lambda: self._log.read_text(errors="replace"))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    # --- inside -----------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-p", "-C", "--"]
        # Nothing of who runs the tests: an ANOMALYD_... of his is a mistake to the daemon.
        own = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        done = subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=120, env=own
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.journal()}"
        return done

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", *arguments).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit)

    def journal(self, *arguments: str) -> str:
        """What the machine's journal has, the newest last."""
        return self.run("journalctl", "--no-pager", "-o", "cat", *arguments, check=False).stdout

    def write(self, path: str, text: str) -> None:
        """Put a file there; its folder is made."""
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "sh", path, text)

    # --- the installation -------------------------------------------------------------------

    def _lay_out(self) -> None:
        """The files of the machine that this one has not, or has otherwise."""
        venv = self._files / VENV.relative_to("/")
        (venv / "bin").mkdir(parents=True)
        (venv / "lib" / _VERSION / "site-packages").mkdir(parents=True)
        (self._files / _BASE.relative_to("/")).mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text(f"home = {_BASE}/bin\n")
        (venv / "bin" / "python").symlink_to(_BASE / "bin" / _VERSION)
        program = venv / "bin" / "anomalyd"
        program.write_text(_PROGRAM.format(base=_BASE, venv=VENV))
        program.chmod(0o755)
        system = self._files / "etc" / "systemd" / "system"
        system.mkdir(parents=True)
        for unit in UNITS.glob("*.service"):
            shutil.copy(unit, system)
        (system / "lab.target").write_text(_TARGET)
        (system / "default.target").symlink_to("lab.target")
        for masked in _MASKED:
            (system / masked).symlink_to("/dev/null")
        (self._files / "etc" / "machine-id").touch()
        for path in [self._files, *self._files.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise AssertionError(f"no boot: {self._log.read_text(errors='replace')}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        for child in children.read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                self._init = int(child)
        if not self._init:
            return False
        state = self.run("systemctl", "is-active", "lab.target", check=False)
        return state.stdout.strip() == "active"

    def _end(self) -> None:
        if self._nspawn is None:
            return
        if self._init:
            self.run("systemctl", "poweroff", "--force", "--force", check=False)
        try:
            self._nspawn.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()


def wait_until(condition: Callable[[], bool], within_s: float, why: Callable[[], str]) -> None:
    """Poll until it holds; an AssertionError with `why()` where it takes too long."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
