"""Torch is imported while another thread goes on, and the collector leaves it alone."""

import subprocess
import sys

from tests.broker.daemon import own_environment

SCRIPT = """
import gc, sys, threading
from anomalyd.model.torch_library import load_torch

turns, stop = 0, threading.Event()
def turn():
    global turns
    while not stop.wait(0.001):
        turns += 1

threading.Thread(target=turn, daemon=True).start()
assert "torch" not in sys.modules
load_torch()
load_torch()
stop.set()
assert gc.isenabled() and gc.get_freeze_count() > 10_000
print(turns, float(sys.modules["torch"].ones(3).sum()))
"""


def test_a_thread_goes_on_while_it_loads() -> None:
    """The other one has many turns in the seconds that it takes."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=own_environment({}), capture_output=True, text=True
    )
    assert (0, "") == (found.returncode, found.stderr)
    turns, total = found.stdout.split()
    assert int(turns) > 100
    assert "3.0" == total
