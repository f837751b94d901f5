"""The report on a replay: one HTML page that shows what was found, and why, to who runs the plant.

`terminal.py` shows it every block of a replay and has it written at the end, on one thread. What
it keeps grows with the channels, not with the readings; the same replay writes the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np

from anomalyd import __version__
from anomalyd.detection.reading import Kind
from anomalyd.errors import DataError
from anomalyd.runtime import plot
from anomalyd.runtime.episodes import Episode, Episodes, figures, rank
from anomalyd.runtime.overview import Overview
from anomalyd.runtime.page import facts, page, table
from anomalyd.runtime.plot import Span
from anomalyd.runtime.replay import Block

MOST_PLOTS = 40
MOST_LISTED = 500
"""rows of a table"""

_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_KEY = (
    ("value", "M1 6H25", "value"),
    ("expected", "M1 6H25", "expected"),
    ("band", "M0 0H26V12H0Z", "normal band"),
    ("alert", "M0 0H26V12H0Z", "under alert"),
    ("high", "M13 6h0", "score of 1 or more"),
)


class Report:
    """Gathers what a replay says; owns all of it."""

    def __init__(self, title: str) -> None:
        """`title`: what was replayed."""
        self._title = title
        self._overview = Overview()
        self._episodes = Episodes()
        self._raised: Counter[str] = Counter()
        self._left_out = 0

    def add(self, block: Block) -> None:
        """Take the next block of the replay."""
        verdicts = block.verdicts
        self._raised.update(each.kind for each in block.alerts if each.transition == "raised")
        self._overview.name(verdicts.rows, block.channels)
        self._overview.count(verdicts.rows, verdicts.score)
        fit = np.isfinite(verdicts.values) & (verdicts.kind != Kind.LATE)
        self._left_out += int((~fit).sum())
        if not fit.any():
            return
        order = np.flatnonzero(fit)
        order = order[np.argsort(verdicts.rows[order], kind="stable")]
        rows = verdicts.rows[order]
        self._overview.add(rows, verdicts.times[order], verdicts.values[order])
        self._episodes.add(rows, figures(verdicts)[order], block.alerts, self._overview.names)

    def write(self, path: Path) -> None:
        """Write the page. Raises DataError."""
        try:
            # A file's name may hold bytes that are no text.
            path.write_text(self._page(), encoding="utf-8", errors="replace", newline="\n")
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error

    # --- sections ---------------------------------------------------------------------------

    def _page(self) -> str:
        return page(f"Replay of {self._title}", self._sections())

    def _sections(self) -> Iterator[str]:
        yield from self._summary()
        shown = self._shown()
        plotted = {episode.row for episode in shown}
        if shown:
            yield from self._alerts(plotted)
            yield from self._plots(shown)
        yield from self._others(plotted)
        yield (
            '<p class="soft">A score of 1 is the alert threshold of every channel. All times are '
            f"UTC. anomalyd {escape(__version__)}</p>"
        )

    def _summary(self) -> Iterator[str]:
        overview = self._overview
        yield f"<h1>Replay of {escape(self._title)}</h1>"
        if math.isfinite(overview.first_s):
            span = f"{_moment(overview.first_s)} to {_moment(overview.last_s)} UTC"
            lasted = _duration(overview.last_s - overview.first_s)
            yield f'<p class="soft">{span} ({lasted})</p>'
        kinds = [f"{count:,} {kind}" for kind, count in sorted(self._raised.items())]
        left_out = [("late or not a number", f"{self._left_out:,}")] if self._left_out else []
        yield facts(
            [
                ("channels", f"{len(overview.names):,}"),
                ("readings", f"{overview.readings.sum():,}"),
                *left_out,
                ("alerts raised", ", ".join(kinds) or "none"),
            ]
        )
        if not self._raised:
            yield f'<p class="card">{self._nothing()}</p>'

    def _nothing(self) -> str:
        if np.isfinite(self._overview.score).any():
            return '<span class="good">No alert was raised.</span> The highest scores are below.'
        return (
            '<span class="warning">Nothing could be scored.</span> No channel has enough readings '
            "to leave its warm-up, so this says nothing about the plant."
        )

    def _shown(self) -> list[Episode]:
        """Of each channel the highest-scored alert that readings were kept of, best first."""
        best: dict[int, Episode] = {}
        for episode in sorted(self._episodes.all, key=rank):
            if episode.trace is not None:
                best.setdefault(episode.row, episode)
        return list(best.values())[:MOST_PLOTS]

    def _alerts(self, plotted: Iterable[int]) -> Iterator[str]:
        episodes, total = self._episodes.all, self._raised.total()
        listed = sorted(sorted(episodes, key=rank)[:MOST_LISTED], key=lambda each: each.raised_s)
        yield "<h2>Alerts</h2>"
        if len(listed) < total:
            yield f'<p class="soft">The {len(listed):,} with the highest scores of {total:,}.</p>'
        links = {row: f'<a href="#c{row}">{self._name(row)}</a>' for row in plotted}
        yield table(
            [
                ("channel, reason", "name"),
                ("kind", ""),
                ("severity", ""),
                ("raised at", "time"),
                ("cleared at", "time"),
                ("duration", "number"),
                ("highest score", "number"),
            ],
            (
                (
                    f"{links.get(each.row) or self._name(each.row)}<p>{escape(each.reason)}</p>",
                    escape(each.kind),
                    _severity(each),
                    _moment(each.raised_s),
                    _cleared(each),
                    self._lasted(each),
                    _score(each.score),
                )
                for each in listed
            ),
        )

    def _plots(self, shown: list[Episode]) -> Iterator[str]:
        keys = (
            f'<span class="key"><svg viewBox="0 0 26 12"><path class="{kind}" d="{line}"/></svg>'
            f"{what}</span>"
            for kind, line, what in _KEY
        )
        yield f'<h2>What happened</h2><p class="soft">{" ".join(keys)}</p>'
        alerted = len({episode.row for episode in self._episodes.all})
        if len(shown) < alerted:
            yield f'<p class="soft">The {len(shown)} channels with the highest scores.</p>'
        spans: dict[int, list[Span]] = defaultdict(list)
        for each in self._episodes.all:
            label = f"{each.kind}, {each.severity}, score {_score(each.score)}"
            spans[each.row].append(Span(each.raised_s, self._ended(each), label))
        for episode in shown:
            yield self._card(episode, spans[episode.row])

    def _card(self, episode: Episode, spans: list[Span]) -> str:
        assert episode.trace is not None
        name = self._name(episode.row)
        more = f"; the highest of {len(spans)} alerts here" if len(spans) > 1 else ""
        when = f"{_moment(episode.raised_s)}, {self._lasted(episode)}"
        label = f"{self._overview.names[episode.row]} around the alert"
        return (
            f'<section class="card" id="c{episode.row}"><div class="head"><div><h3>{name}</h3>'
            f"<p>{_severity(episode)} {escape(episode.kind)}, score {_score(episode.score)}"
            f' <span class="soft">raised {when}{more}</span></p><p>{escape(episode.reason)}</p>'
            f"</div>{self._spark(episode.row, spans)}</div>"
            f"{plot.chart(episode.trace, spans, episode.unit, label)}</section>"
        )

    def _others(self, plotted: Collection[int]) -> Iterator[str]:
        overview = self._overview
        rows = [row for row in overview.names if row not in plotted]
        rows.sort(key=lambda row: (-np.nan_to_num(overview.score[row], nan=-1.0), row))
        if not rows:
            return
        yield f"<h2>{'Other channels' if plotted else 'Channels'}</h2>"
        if len(rows) > MOST_LISTED:
            yield (
                f'<p class="soft">The {MOST_LISTED} with the highest scores of {len(rows):,}.</p>'
            )
        columns = [("channel", "name"), ("readings", "number"), ("highest score", "number")]
        yield table(
            [*columns, ("whole run", "")],
            (
                (
                    self._name(row),
                    f"{overview.readings[row]:,}",
                    _score(float(overview.score[row])),
                    self._spark(row, ()),
                )
                for row in rows[:MOST_LISTED]
            ),
        )

    # --- words ------------------------------------------------------------------------------

    def _name(self, row: int) -> str:
        return escape(self._overview.names[row])

    def _spark(self, row: int, spans: Iterable[Span]) -> str:
        within = (self._overview.first_s, self._overview.last_s)
        label = f"{self._overview.names[row]} over the whole run"
        return plot.sparkline(within, self._overview.shape(row), spans, label)

    def _ended(self, episode: Episode) -> float:
        return min(episode.cleared_s, self._overview.last_s)

    def _lasted(self, episode: Episode) -> str:
        return _duration(self._ended(episode) - episode.raised_s)


def _severity(episode: Episode) -> str:
    return f'<span class="{escape(episode.severity)}">{escape(episode.severity)}</span>'


def _cleared(episode: Episode) -> str:
    return _moment(episode.cleared_s) if math.isfinite(episode.cleared_s) else "not yet"


def _score(score: float) -> str:
    if math.isnan(score):
        return "not scored"
    return f"{score:.2f}" if score < 10 else f"{score:,.0f}"


def _moment(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    """In its two largest units."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    left = round(seconds)
    unit_s, unit, smaller_s, smaller = next(each for each in _UNITS if left >= each[0])
    whole, rest = divmod(round(left / smaller_s), unit_s // smaller_s)
    return f"{whole} {unit}" + (f" {rest} {smaller}" if rest else "")
