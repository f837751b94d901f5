"""What the pipeline found, told to the outside: alert topics, the event topic, scores, the log.

Called on the pipeline's thread after each batch. `send` hands a document to the broker's thread
and returns at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np

from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import KIND_NAMES, STATE_NAMES, Verdicts
from anomalyd.runtime.alerts import Alert, number
from anomalyd.runtime.pipeline import Outcome

log = logging.getLogger("anomalyd.alerts")

Send = Callable[[str, bytes, int, bool], bool]
"""topic, payload, QoS, retain -> False where the queue is full"""

OWN_TOPICS = ("forecast", "range")
"""kinds of alerts that may be open beside the channel's other one, and have a topic of their own"""

_LEVELS = {"raised": logging.WARNING, "updated": logging.DEBUG, "cleared": logging.INFO}


class Announcer:
    """Writes below `<prefix>/<instance>/`."""

    def __init__(self, root: str, send: Send, table: ChannelTable, scores: bool) -> None:
        self.lost: Counter[str] = Counter()
        self._root = root
        self._send = send
        self._table = table
        self._scores = scores
        self._encoder = msgspec.json.Encoder()

    def publish_scores(self, scores: bool) -> None:
        """Whether every verdict is published, from now on."""
        self._scores = scores

    def tell(self, outcome: Outcome) -> None:
        """Publish the transitions in order, then the scores where that is asked for."""
        for alert in outcome.alerts:
            self._tell_alert(alert)
        if self._scores:
            self._tell_scores(outcome.verdicts)

    def _tell_alert(self, alert: Alert) -> None:
        document = self._encoder.encode(alert)
        topic = alert.kind if alert.kind in OWN_TOPICS else "alert"
        kept = self._send(f"{self._root}/{topic}/{alert.channel}", document, 1, True)
        kept &= self._send(f"{self._root}/event", document, 1, False)
        if not kept:
            self.lost["outbox"] += 1
            log.error(
                "channel=%s alert %s: the queue to the broker is full", alert.channel, alert.id
            )
        log.log(
            _LEVELS[alert.transition],
            "channel=%s alert %s kind=%s severity=%s score=%.3g id=%s: %s",
            alert.channel,
            alert.transition,
            alert.kind,
            alert.severity,
            alert.score,
            alert.id,
            alert.reason,
            extra={
                "channel": alert.channel,
                "alert": alert.id,
                "kind": alert.kind,
                "severity": alert.severity,
                "transition": alert.transition,
            },
        )

    def _tell_scores(self, verdicts: Verdicts) -> None:
        scored = np.flatnonzero(~np.isnan(verdicts.expected) | ~np.isnan(verdicts.score))
        for index in scored.tolist():
            verdict = {
                "time": float(verdicts.times[index]),
                "value": float(verdicts.values[index]),
                "expected": number(float(verdicts.expected[index])),
                "lower": number(float(verdicts.lower[index])),
                "upper": number(float(verdicts.upper[index])),
                "score": number(float(verdicts.score[index])),
                "state": STATE_NAMES[verdicts.state[index]],
                "kind": KIND_NAMES[verdicts.kind[index]],
            }
            channel = self._table[int(verdicts.rows[index])].name
            self._send(f"{self._root}/score/{channel}", self._encoder.encode(verdict), 0, False)
