"""Assets whose class has a network: what their members should be, and who of them is off.

The pipeline calls it on its thread, which owns it. Where all channels that the network knows have
joined an asset, its expectation takes the place of the running covariance's (`detection/
relation.py`, the baseline), and the residuals are held against their own commissioning reference:
what a fault does to the relations of a machine stays as long as the fault.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection import columns
from anomalyd.detection.channels import Channel
from anomalyd.detection.combine import cauchy
from anomalyd.detection.reading import Flags, Floats, Rows
from anomalyd.detection.reference import Held, Reference
from anomalyd.detection.relation import Compared, Relations
from anomalyd.detection.sustained import Astray
from anomalyd.model.asset import AssetNetwork
from anomalyd.model.asset_predictor import AssetPredictor

_SMOOTHING = 8.0
_FLOOR = 0.1  # of the usual error: no smaller change of a residual is one


class Assets:
    """The seats and residuals of `capacity` channels in at most as many assets."""

    def __init__(self, capacity: int, of_stream: Sequence[AssetPredictor | None]) -> None:
        self._of_stream = of_stream
        self._predictors = list({id(each): each for each in of_stream if each}.values())
        widest = max([len(each.seats) for each in self._predictors], default=0)
        self._seats = np.full((capacity, widest), -1, dtype=np.intp)
        self._class = np.full(capacity, -1, dtype=np.int64)
        self._served = np.zeros(capacity, dtype=np.bool_)
        self._place: dict[int, tuple[int, int]] = {}
        self._reference = Reference(capacity if self._predictors else 0)
        shape = capacity if self._predictors else 0
        self._value, self._missed, self._score = (np.zeros(shape) for _ in range(3))
        self._scale = np.ones(shape)
        self._expected, self._limit = (np.full(shape, np.nan) for _ in range(2))

    @property
    def capacity(self) -> int:
        return self._class.size

    @property
    def predictors(self) -> Sequence[AssetPredictor]:
        """One for each class of assets."""
        return self._predictors

    @property
    def of_stream(self) -> Sequence[AssetPredictor | None]:
        """The same, by the streams that name them."""
        return self._of_stream

    @property
    def seating(self) -> Sequence[NDArray[np.generic]]:
        """The columns over assets, which follow from who has joined; all others are over
        channels."""
        return self._seats, self._class, self._served

    def seated(self, predictor: AssetPredictor) -> Rows:
        """Rows of the channels in assets that `predictor` serves."""
        return self.seats(predictor).ravel()

    def seats(self, predictor: AssetPredictor) -> NDArray[np.intp]:
        """(A, seats) the same, by asset."""
        mine = self._served & (self._class == self._predictors.index(predictor))
        return self._seats[mine, : len(predictor.seats)]

    def renew(self, predictor: AssetPredictor, network: AssetNetwork, name: str) -> None:
        """Let another network serve the assets of `predictor`: its residuals are commissioned anew,
        and until they are, they raise nothing."""
        predictor.renew(network, name)
        rows = self.seated(predictor)
        self._reference.reset(rows)
        self._missed[rows] = self._score[rows] = 0.0
        self._expected[rows] = self._limit[rows] = np.nan

    def beside(self, predictor: AssetPredictor, other: AssetPredictor) -> Assets:
        """The assets of `predictor` once more, for `other` to judge: it knows where each channel
        stands, and its residuals are commissioned anew."""
        of_stream = [other if each is predictor else None for each in self._of_stream]
        found = Assets(self.capacity, of_stream)
        mine = self._class == self._predictors.index(predictor)
        found._seats[mine] = self._seats[mine, : len(predictor.seats)]
        found._class[mine] = 0
        found._served[mine] = self._served[mine]
        found._place = {row: place for row, place in self._place.items() if mine[place[0]]}
        found._value[:] = self._value
        other.stand(predictor)
        return found

    def exchange(self, other: Assets, predictor: AssetPredictor) -> None:
        """What is known of the residuals of `predictor`'s assets, with what `other` knows. Where
        that finds one odd it is commissioned anew: no alert comes of the exchange."""
        rows = self.seated(predictor)
        seats = self.seats(predictor)[:, : predictor.members]
        odd = seats[(other._score[seats] >= 1.0).any(axis=1)].ravel()
        other._reference.reset(odd)
        other._score[odd] = 0.0
        columns.exchange(self._reference, other._reference, self.capacity, rows)
        for name in ("_missed", "_score", "_scale", "_expected", "_limit"):
            ours, theirs = getattr(self, name), getattr(other, name)
            ours[rows], theirs[rows] = theirs[rows], ours[rows]

    def serves(self, assets: NDArray[np.intp]) -> Flags:
        """(A,) whether a network judges them."""
        return np.asarray(self._served[assets])

    def known(self, assets: NDArray[np.intp]) -> Flags:
        """(A,) something was expected of all members."""
        return np.asarray(~np.isnan(self._expected[self._members(assets)]).any(axis=1))

    def odd(self, assets: NDArray[np.intp]) -> Flags:
        """(A,) a member is beyond its limit."""
        return np.asarray((self._score[self._members(assets)] >= 1.0).any(axis=1))

    def commissioned(self, assets: NDArray[np.intp]) -> Flags:
        """(A,) the residuals of all members are known."""
        members = self._members(assets)
        flags = self._reference.commissioned(members.ravel())
        return np.asarray(flags.reshape(members.shape).all(axis=1))

    def _members(self, assets: NDArray[np.intp]) -> NDArray[np.intp]:
        """(A, members) rows of assets of one class."""
        return self._seats[assets, : self._predictors[self._class[assets[0]]].members]

    def join(self, row: int, asset: int, channel: Channel) -> None:
        """Give a channel its seat, where the class of its asset has one for it."""
        known = bool(self._predictors) and channel.stream >= 0
        predictor = self._of_stream[channel.stream] if known else None
        if predictor is None or channel.member not in predictor.seats:
            return
        seat = predictor.seats.index(channel.member)
        self._seats[asset, seat], self._place[row] = row, (asset, seat)
        self._class[asset] = self._predictors.index(predictor)
        self._restart(asset, predictor)

    def leave(self, row: int) -> None:
        """Take a channel out of its asset."""
        asset, seat = self._place.pop(row, (-1, -1))
        if asset >= 0:
            self._served[asset] = False
            seats = self._seats[asset]
            self._score[seats[seats >= 0]] = 0.0
            self._seats[asset, seat] = -1

    def _restart(self, asset: int, predictor: AssetPredictor) -> None:
        rows = self._seats[asset, : len(predictor.seats)]
        self._served[asset] = bool((rows >= 0).all())
        if self._served[asset]:
            predictor.reset(rows)
            self._reference.reset(rows)
            self._missed[rows] = self._score[rows] = 0.0
            self._expected[rows] = self._limit[rows] = np.nan

    def look(self, rows: Rows, fresh: Flags) -> Astray:
        """What is known of each channel in `rows`; `fresh`: (B,) its asset is still compared."""
        if not self._predictors:
            nothing = np.full(rows.size, np.nan)
            return Astray(np.zeros(rows.size), nothing, nothing)
        score = np.where(fresh, self._score[rows], 0.0)
        return Astray(score, self._expected[rows], self._limit[rows])

    def shares(self, row: int) -> tuple[Rows, Floats] | None:
        """The members of the asset of `row` and their shares of its residual, largest first; None
        where the running covariance serves."""
        asset, _ = self._place.get(row, (-1, -1))
        if asset < 0 or not self._served[asset]:
            return None
        predictor = self._predictors[self._class[asset]]
        rows = self._seats[asset, : predictor.members]
        size = np.abs(self._missed[rows]) / self._scale[rows]
        order = np.argsort(-size, kind="stable")
        return rows[order], size[order] / max(float(size.sum()), 1e-300)

    def compare(
        self, compared: Compared, relations: Relations, quarantined: Flags, accepted: Flags,
        risk: Floats,
    ) -> Compared:  # fmt: skip
        """Let the networks judge the compared assets that they know; arrays are those of
        `compared.rows`.

        `quarantined`: the channel teaches nothing. `accepted`: its alert is the new normal.
        `risk`: false alarms that one comparison may raise in it.
        """
        for known in self.judge(compared, quarantined, accepted, risk):
            missed, scale = self._missed[known], self._scale[known]
            compared = relations.replace(compared, known, missed, np.abs(missed) / scale)
        return compared

    def judge(
        self, compared: Compared, quarantined: Flags, accepted: Flags, risk: Floats
    ) -> Sequence[Rows]:
        """As `compare`, and tells nobody; of each class, the rows that something is expected of."""
        found: list[Rows] = []
        if not self._predictors:
            return found
        at = compared.rows >= 0
        self._value[compared.rows[at]] = compared.values[at]
        learns: Flags = np.logical_not((quarantined & at).any(axis=1))
        ends: Flags = np.asarray((accepted & at).any(axis=1))
        allowed = np.where(at, risk, np.inf).min(axis=1)
        for index, predictor in enumerate(self._predictors):
            mine = self._served[compared.assets] & (self._class[compared.assets] == index)
            if mine.any():
                rows = self._seats[compared.assets[mine], : len(predictor.seats)]
                found.append(self._judge(predictor, rows, learns[mine], ends[mine], allowed[mine]))
        return found

    def _judge(
        self, predictor: AssetPredictor, rows: NDArray[np.intp], learns: Flags, ends: Flags,
        risk: Floats,
    ) -> Rows:  # fmt: skip
        """Judge A assets, `rows` (A, seats); returns the rows that something is expected of."""
        values = self._value[rows]
        expected, scale = predictor.observe(rows, values, learns)
        known = ~np.isnan(expected).any(axis=1)
        members = rows[known, : predictor.members]
        unknown = rows[~known, : predictor.members]
        self._expected[unknown], self._score[unknown] = np.nan, 0.0
        if not members.size:
            return members.ravel()
        expected, scale = expected[known], scale[known]
        off = values[known, : predictor.members] - expected
        flat = members.ravel()
        held = self._hold(flat, (off / scale).ravel(), learns[known], ends[known], risk[known])
        self._missed[members] += (off - self._missed[members]) / _SMOOTHING
        self._scale[members] = scale
        self._expected[members] = expected + held.mean.reshape(scale.shape) * scale
        self._limit[members] = held.limit.reshape(scale.shape) * scale
        self._accuse(members, held)
        return flat

    def _hold(self, rows: Rows, missed: Floats, learns: Flags, ends: Flags, risk: Floats) -> Held:
        """Hold the residuals of A assets against their reference; the last three are (A,)."""
        members = rows.size // risk.size
        floor = np.full(rows.size, _FLOOR)
        held = self._reference.look(rows, missed, floor, np.repeat(risk, members))
        self._reference.learn(rows, held, np.repeat(learns, members), np.repeat(ends, members))
        return held

    def _accuse(self, members: NDArray[np.intp], held: Held) -> None:
        """One channel that goes astray spoils the expectation of all others: only the furthest out
        may alert, with what they say together."""
        score, z, z_limit = (
            each.reshape(members.shape) for each in (held.score, held.z, held.z_limit)
        )
        leader = np.arange(len(members)), score.argmax(axis=1)
        self._score[members] = 0.0
        self._score[members[leader]] = score[leader] * cauchy(z, z_limit)
