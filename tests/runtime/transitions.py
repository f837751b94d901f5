"""Alerts made by hand, for tests of what shows them."""

from anomalyd.runtime.alerts import Alert, Transition, alert_id, iso


def transition(what: Transition, channel: str, value: float, score: float, at_s: float) -> Alert:
    """One transition of the only alert of a channel."""
    return Alert(
        id=alert_id("main", channel, 0.0),
        transition=what,
        channel=channel,
        labels={},
        kind="residual",
        severity="critical" if what == "updated" else "warning",
        reason="too high",
        score=score,
        value=value,
        expected=0.0,
        lower=-1.0,
        upper=1.0,
        unit="",
        started_at=iso(at_s),
        updated_at=iso(at_s),
        cleared_at=iso(at_s) if what == "cleared" else None,
        contributors=(),
        recent=(),
        model="",
        instance="main",
        runbook_url="",
    )
