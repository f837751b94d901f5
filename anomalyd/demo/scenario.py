"""The demo's script: which sensor fails how and when, scaled to the length of the run.

`demo.py` calls it once. It only lays out: `plant.py` does the damage. Sizes are what an engineer of
the plant would call clear, not absurd; `faults.py` says in what units.
"""

from __future__ import annotations

from typing import Final

from anomalyd.demo.faults import Fault

_QUIET_SHARE: Final = 1 / 3  # of the run, at its start: the daemon learns
_LEAD_SHARE: Final = 0.1  # of a fault's slot, before it begins
_BUSY_SHARE: Final = 0.45  # of a fault's slot at most
_GRACE_STEPS: Final = 120
_GRACE_SHARE: Final = 0.25

# Two on each of three machines, never two in a row on one; `start` comes with the run's length.
_FAULTS: Final = (
    Fault("spike", "line1/pump1/voltage", start=0, duration=1, size=15.0),
    Fault("shift", "line1/compressor1/voltage", start=0, duration=150, size=-6.0),
    Fault("drift", "line1/pump2/bearing_temperature", start=0, duration=240, size=5.0),
    Fault("noise", "line1/pump1/pressure", start=0, duration=150, size=5.0),
    Fault("stuck", "line1/compressor1/flow", start=0, duration=180),
    Fault("decoupled", "line1/pump2/current", start=0, duration=300),
)


def script(steps: int) -> tuple[Fault, ...]:
    """Six faults over the last two thirds of `steps`, one after the other, with quiet between."""
    quiet = int(steps * _QUIET_SHARE)
    slot = (steps - quiet) // len(_FAULTS)
    return tuple(
        Fault(
            fault.kind,
            fault.channel,
            quiet + turn * slot + int(_LEAD_SHARE * slot),
            max(1, min(fault.duration, int(_BUSY_SHARE * slot))),
            fault.size,
        )
        for turn, fault in enumerate(_FAULTS)
    )


def grace(steps: int) -> int:
    """How long after its end, in steps, an alert is still about a fault."""
    slot = int(steps * (1 - _QUIET_SHARE)) // len(_FAULTS)
    return min(_GRACE_STEPS, int(_GRACE_SHARE * slot))


def describe(fault: Fault) -> str:
    """What happens, in a few words."""
    size, seconds = abs(fault.size), fault.duration
    match fault.kind:
        case "spike":
            return f"one reading off by {size:g} sigma of its noise"
        case "shift":
            way = "up" if fault.size > 0 else "down"
            return f"{way} by {size:g} standard deviations for {seconds} s"
        case "drift":
            return f"away by {size:g} standard deviations in {seconds} s"
        case "noise":
            return f"{size:g} times its usual noise for {seconds} s"
        case "stuck":
            return f"repeats one value for {seconds} s"
        case "decoupled":
            return f"normal looks, but leaves its machine, {seconds} s"
