"""The gate of asset networks: may a challenger take the champion's place?

Called by whoever retrains, on its thread. As `gate.py`, whose bootstrap and report it shares: the
challenger must be sound, foretell held-out recent rows better by a margin, be further off no more
often, and stand out as much in the plant's own incidents. It is pure: no files, no clock.

Every asset is standardised as it was in the rows that came before those held out, and in an
incident as it was before that; in service it is as it was when it was commissioned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from anomalyd.detection.poisson import poisson_tail
from anomalyd.detection.reading import Floats
from anomalyd.model.asset import LIMIT, AssetNetwork
from anomalyd.model.asset_module import AssetModule
from anomalyd.model.asset_training import SHORTEST
from anomalyd.runtime.asset_rows import AssetRows
from anomalyd.runtime.gate import GateReport, GateRules, at_least

_RULES = GateRules()
_UNSCORED = 16  # rows of a part before the LSTM knows where it is
_BLOCK = 64  # rows
_SMOOTHED = 8  # rows, as in service: noise makes no peak
_FAR = 0.99  # of the champion's rows are less far off than what counts as an alarm
_SEEN = 0.999  # of a network's rows are less far off than an incident that it sees

Standard = tuple[Floats, Floats]
"""mean and standard deviation of each seat"""


@dataclass(frozen=True, slots=True)
class AssetIncident:
    """Rows before and in a confirmed alert."""

    alert: str
    start_s: float
    end_s: float
    rows: Sequence[AssetRows]


def judge_asset(
    champion: AssetNetwork,
    challenger: AssetNetwork,
    learnt: Sequence[AssetRows],
    held: Sequence[AssetRows],
    incidents: Sequence[AssetIncident],
    original: AssetNetwork,
    each: Callable[[], None] = lambda: None,
) -> GateReport:
    """`held`: rows that the challenger hasn't seen, behind those `learnt`; `original`: of the
    stream's own file, so that no chain of champions forgets an incident step by step. `each` is
    called often, and may raise to stop."""
    spoilt = [name for name, weight in challenger.weights.items() if not np.isfinite(weight).all()]
    if spoilt:
        words = f"its weights are not finite: {', '.join(spoilt)}"
        return GateReport(False, words, ["finite"], {})
    standards = _standards(learnt)
    seen = [_standardised(rows, standards[rows.asset]) for rows in held if rows.asset in standards]
    if not seen:
        return GateReport(False, "no asset has held-out rows", ["held_out"], {})
    old, new = ([_off(one, z, each) for z in seen] for one in (champion, challenger))
    if not all(np.isfinite(off).all() for off in new):
        return GateReport(False, "its forecasts are not finite", ["finite"], {})
    metrics: dict[str, float] = {"rows": float(sum(map(len, new)))}
    before = [champion, original]
    said = {
        "log_score": _log_score(champion, challenger, old, new, metrics),
        "alarms": _alarms(_sizes(champion, old), _sizes(challenger, new), metrics),
        "incident": _incidents(before, challenger, seen, incidents, metrics, each),
    }
    failed = {name: words for name, words in said.items() if words}
    words = "; ".join(failed.values()) or f"log-score better by {metrics['gain']:.3f} nats"
    return GateReport(not failed, words, list(failed), metrics)


def _log_score(
    champion: AssetNetwork,
    challenger: AssetNetwork,
    old: Sequence[Floats],
    new: Sequence[Floats],
    metrics: dict[str, float],
) -> str:
    gains = [_nll(champion, a) - _nll(challenger, b) for a, b in zip(old, new, strict=True)]
    blocks = [
        gain[begin : begin + _BLOCK].mean()
        for gain in gains
        for begin in range(0, len(gain), _BLOCK)
    ]
    gain, sure = float(np.concatenate(gains).mean()), at_least(np.array(blocks), _RULES.doubt)
    metrics |= {"gain": gain, "gain_at_least": sure}
    if sure > _RULES.gain:
        return ""
    words = f"log-score on held-out rows {gain:+.3f} nats (at least {sure:+.3f})"
    return f"{words}, not {_RULES.gain:+.3f}"


def _alarms(old: Floats, new: Floats, metrics: dict[str, float]) -> str:
    """Rows further off than nearly all of the champion's, in usual errors of each."""
    limit = float(np.quantile(old, _FAR))
    was, now = int((old > limit).sum()), int((new > limit).sum())
    metrics |= {"alarms": float(now), "alarms_champion": float(was)}
    if poisson_tail(now, max(float(was), 1.0)) >= _RULES.doubt:
        return ""
    return f"{now} held-out rows are further off than {limit:.1f} usual errors; {was} before"


def _incidents(
    before: Sequence[AssetNetwork],
    challenger: AssetNetwork,
    held: Sequence[Floats],
    incidents: Sequence[AssetIncident],
    metrics: dict[str, float],
    each: Callable[[], None],
) -> str:
    networks = [*before, challenger]
    quiet = [_quiet(network, held, each) for network in networks]
    lost, tried = [], 0
    for case in incidents:
        # As in service: a network that is always far off must be further off to alert.
        peaks = [_peak(one, case, each) / size for one, size in zip(networks, quiet, strict=True)]
        was, now = max(peaks[:-1]), peaks[-1]
        if was <= 1.0:
            continue  # none of them sees it: its alert came of other views
        tried += 1
        # Measured: honest ones on a changed machine keep 0.67, those taught the incident 0.28.
        if not now >= (_RULES.score_kept if now > 1.0 else _RULES.score_alike) * was:
            lost.append(f"{case.alert} ({was:.1f} => {now:.1f} times as far as ever else)")
    metrics |= {"incidents": float(tried), "incidents_lost": float(len(lost))}
    return f"stands out less in incident {', '.join(lost)}" if lost else ""


def _peak(network: AssetNetwork, case: AssetIncident, each: Callable[[], None]) -> float:
    """How far off a member is at most, while the incident lasts; 0 where that can't be said."""
    quiet = [_until(rows, case.start_s) for rows in case.rows]
    standards = _standards([rows for rows in quiet if rows.times.size >= SHORTEST])
    peak = 0.0
    for rows in case.rows:
        if rows.asset in standards:
            off = _smooth(_off(network, _standardised(rows, standards[rows.asset]), each))
            times = rows.times[rows.times.size - len(off) :]
            during = (times >= case.start_s) & (times <= case.end_s)
            peak = max(peak, float(_sizes(network, [off[during]]).max(initial=0.0)))
    return peak


def _quiet(network: AssetNetwork, held: Sequence[Floats], each: Callable[[], None]) -> float:
    """How far off it hardly ever is."""
    off = [_smooth(_off(network, z, each)) for z in held]
    return float(np.quantile(_sizes(network, off), _SEEN))


def _until(rows: AssetRows, at_s: float) -> AssetRows:
    end = int(rows.times.searchsorted(at_s))
    return AssetRows(rows.asset, rows.times[:end], rows.values[:end])


def _standards(rows: Sequence[AssetRows]) -> Mapping[str, Standard]:
    of: dict[str, list[Floats]] = {}
    for each in rows:
        of.setdefault(each.asset, []).append(each.values)
    whole = {asset: np.concatenate(parts) for asset, parts in of.items()}
    return {asset: (every.mean(axis=0), every.std(axis=0)) for asset, every in whole.items()}


def _standardised(rows: AssetRows, standard: Standard) -> Floats:
    """(T, seats); 0 where a channel never moved."""
    mean, spread = standard
    moves = spread > 1e-9 * (1.0 + np.abs(mean))
    z = (rows.values - mean) / np.where(moves, spread, 1.0)
    return np.where(moves, z, 0.0)


def _off(network: AssetNetwork, z: Floats, each: Callable[[], None]) -> Floats:
    """(T', M) by how much the members are not what was expected, from where that counts."""
    each()
    ahead, members = network.config.ahead, len(network.config.members)
    with torch.inference_mode():
        seen = torch.from_numpy(z[None, : len(z) - ahead].astype(np.float32))
        expected = AssetModule.of(network)(seen)[0].double().numpy()
    target = z[ahead:, :members].clip(-LIMIT, LIMIT)
    return np.asarray((target - expected)[_UNSCORED:])


def _nll(network: AssetNetwork, off: Floats) -> Floats:
    """(T',) negative log-likelihood a reading: Laplace's, whose scale is the usual error."""
    return np.asarray((np.abs(off) / network.scale + np.log(2.0 * network.scale)).mean(axis=1))


def _sizes(network: AssetNetwork, off: Sequence[Floats]) -> Floats:
    """(rows,) of the member furthest off, in usual errors."""
    return np.asarray((np.abs(np.concatenate(off)) / network.scale).max(axis=1))


def _smooth(off: Floats) -> Floats:
    """(T' - 7, M) mean of the last rows."""
    windows = np.lib.stride_tricks.sliding_window_view(off, _SMOOTHED, axis=0)
    return np.asarray(windows.mean(axis=-1))
