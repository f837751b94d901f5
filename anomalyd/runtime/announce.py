"""What the pipeline found, told to the outside: alerts, scores, the log.

Called on the pipeline's thread after each batch. `deliver` hands the transitions of a batch to the
outbox's thread, `send` a score to the broker's; both return at once. Of a transition the outbox
makes two messages: the channel's retained state, and an event.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
import numpy as np

from anomalyd.adapters.outbox import Transition
from anomalyd.detection.channels import ChannelTable
from anomalyd.detection.reading import KIND_NAMES, STATE_NAMES, Verdicts
from anomalyd.runtime.alerts import Acknowledgement, Alert, number
from anomalyd.runtime.pipeline import Outcome

log = logging.getLogger("anomalyd.alerts")

Send = Callable[[str, bytes, int, bool], bool]
"""topic, payload, QoS, retain -> False where the queue is full"""

Deliver = Callable[[Sequence[Transition]], int]
"""transitions in order -> how many of them found no room"""

OWN_TOPICS = ("forecast", "range", "stale")
"""kinds of alerts that may be open beside the channel's other one, and have a topic of their own"""

_LEVELS = {"raised": logging.WARNING, "updated": logging.DEBUG, "cleared": logging.INFO}


class Announcer:
    """Writes below `<prefix>/<instance>/`."""

    def __init__(
        self,
        root: str,
        deliver: Deliver,
        send: Send,
        acknowledged: Mapping[str, Acknowledgement],
        table: ChannelTable,
        scores: bool,
    ) -> None:
        """`acknowledged`: of open alerts, by id; another thread changes it, here it is only
        asked."""
        self.lost: Counter[str] = Counter()
        self._root = root
        self._deliver = deliver
        self._send = send
        self._acknowledged = acknowledged
        self._table = table
        self._scores = scores
        self._encoder = msgspec.json.Encoder()

    def publish_scores(self, scores: bool) -> None:
        """Whether every verdict is published, from now on."""
        self._scores = scores

    def tell(self, outcome: Outcome) -> None:
        """Hand over the transitions in order, then the scores where that is asked for."""
        if outcome.alerts:
            lost = self._deliver([self._transition(alert) for alert in outcome.alerts])
            if lost:
                self.lost["outbox"] += lost
                log.error("%d alerts are lost: the queue to the outbox is full", lost)
        for alert in outcome.alerts:
            self._log(alert)
        if self._scores:
            self._tell_scores(outcome.verdicts)

    def _transition(self, alert: Alert) -> Transition:
        acknowledged = self._acknowledged.get(alert.id)
        if acknowledged is not None:
            alert = msgspec.structs.replace(alert, acknowledged=acknowledged)
        family = alert.kind if alert.kind in OWN_TOPICS else "alert"
        return Transition(
            seq=0,
            id=alert.id,
            channel=alert.channel,
            kind=alert.kind,
            topic=f"{self._root}/{family}/{alert.channel}",
            what=alert.transition,
            at_s=datetime.fromisoformat(alert.updated_at).timestamp(),
            document=self._encoder.encode(alert),
        )

    def _log(self, alert: Alert) -> None:
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
