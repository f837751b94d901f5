"""Is the daemon deaf: connected, but without any message for far longer than this plant ever kept
silent? Asked by the service on the main thread; what it hears then is a new connection.

The same rule as for one silent channel, over all messages together.
"""

from __future__ import annotations

import numpy as np

from anomalyd.detection.silence import Silence

_PLANT = np.array([0])
STALL_S = 5.0
"""a look, or an answer of the broker, that is so late: host or network stood still, and what was
said may not be read yet"""


class Hearing:
    """What is known of the silences between messages."""

    def __init__(self) -> None:
        self.reconnects = 0
        self._silence = Silence(1)
        self._silence.reset(_PLANT, True)
        self._received = 0
        self._connects = 0
        self._heard_s = 0.0
        self._looked_s = np.inf

    def deaf(self, now_s: float, received: int, connects: int) -> bool:
        """Look at the counters, often; true once, when it is time to connect anew. `connects`: 0
        while there is no connection."""
        looked_s, self._looked_s = self._looked_s, now_s
        if not connects:
            return False
        if connects != self._connects or now_s - looked_s > STALL_S:
            self._connects = connects
            self._silence.resume(now_s)
        if received != self._received:
            silent_s = np.array([now_s - self._heard_s])
            self._silence.learn(_PLANT, silent_s, now_s)
            self._received, self._heard_s = received, now_s
        if not self._silence.overdue(now_s).size:
            return False
        self._silence.tell(_PLANT)
        self.reconnects += 1
        return True
