"""The shipped model is what its card says."""

from __future__ import annotations

import re

import pytest

from anomalyd.detection.experts import HORIZONS
from anomalyd.model import checkpoint
from anomalyd.model.encoder_decoder import EncoderDecoder
from anomalyd.model.forecast_training import ForecastReport
from anomalyd.model.training import Report
from anomalyd.runtime import train_forecast
from anomalyd.runtime.train import validate_synthetic

_CARD = checkpoint.shipped().with_name("CARD.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def validated() -> Report:
    return validate_synthetic(checkpoint.shipped_network())


def _stated(name: str) -> list[float]:
    """The row of the card's table: a figure for each horizon."""
    found = re.search(rf"^\| {re.escape(name)} \| ([0-9. |]+) \|$", _CARD, re.MULTILINE)
    assert found, f"the card doesn't state {name!r}"
    return [float(figure) for figure in found[1].split("|")]


def test_it_beats_persistence_by_the_margin_in_the_card(validated: Report) -> None:
    """On its validation corpus: mean absolute error one reading ahead by what the card promises,
    log-loss at every horizon."""
    margin = re.search(r"at least (\d+) % below persistence", _CARD)
    assert margin
    assert validated.mae[0] <= 1.0 - int(margin[1]) / 100
    rivals = zip(validated.nll, validated.nll_persistence, strict=True)
    assert all(own < persistence for own, persistence in rivals)


def test_the_card_states_what_is_measured(validated: Report) -> None:
    """Every figure in the card comes out again, at every horizon."""
    for name, figures in (
        ("LSTM", validated.mae),
        ("best single expert of each series, chosen afterwards", validated.mae_best_expert),
        ("seasonal-naive with the true period", validated.mae_seasonal_naive),
        ("LSTM, log-loss", validated.nll),
        ("persistence with the best fixed Student-t, log-loss", validated.nll_persistence),
    ):
        assert pytest.approx(figures, abs=2e-3) == tuple(_stated(name))


def test_the_card_says_how_much_was_validated_and_how_large_it_is(validated: Report) -> None:
    """Signals, readings, hidden size, parameters and horizons."""
    network = checkpoint.shipped_network()
    parameters = sum(weight.size for weight in network.weights.values())
    assert f"{validated.series} other signals" in _CARD
    assert f"{_spaced(validated.readings)} readings" in _CARD
    assert f"hidden size {network.config.hidden}, {_spaced(parameters)} parameters" in _CARD
    horizons = " | ".join(f"h = {horizon}" for horizon in HORIZONS)
    assert f"| forecaster | {horizons} |" in _CARD


def _spaced(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def test_the_card_names_this_file() -> None:
    """Checksum, seed and command are those of the file beside it."""
    shipped = checkpoint.load(checkpoint.shipped())
    assert shipped.sha256 in _CARD
    assert f"--seed {shipped.card['seed']} " in _CARD


def test_the_file_is_small() -> None:
    """It goes into every installation."""
    assert checkpoint.shipped().stat().st_size < 200_000


# --- the forecaster ---------------------------------------------------------------------------

_FORECAST = checkpoint.shipped(checkpoint.SHIPPED_FORECAST)
_FORECAST_CARD = _FORECAST.with_name("FORECAST.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def forecaster() -> ForecastReport:
    network = checkpoint.load(_FORECAST).network
    assert isinstance(network, EncoderDecoder)
    return train_forecast.validate_synthetic(network)


def test_the_forecaster_keeps_its_cards_promise(forecaster: ForecastReport) -> None:
    """Against persistence, and of its intervals."""
    margin = re.search(r"at least (\d+) % below persistence", _FORECAST_CARD)
    interval = re.search(r"hold in (\d+) % to (\d+) %", _FORECAST_CARD)
    assert margin
    assert interval
    assert forecaster.mae <= 1.0 - int(margin[1]) / 100
    for within in (forecaster.within_80_value, forecaster.within_80_peak):
        assert int(interval[1]) <= 100 * within <= int(interval[2])


def test_the_forecasters_card_states_what_is_measured(forecaster: ForecastReport) -> None:
    """Every figure comes out again."""
    for name, figure in (
        ("mean absolute error of the median, of persistence's", forecaster.mae),
        ("that of a line through a third of the window", forecaster.mae_line),
        ("values within the 80 % interval", forecaster.within_80_value),
        ("largest values within the 80 % interval", forecaster.within_80_peak),
    ):
        found = re.search(rf"^\| {re.escape(name)} \| ([0-9.]+)", _FORECAST_CARD, re.MULTILINE)
        assert found, f"the card doesn't state {name!r}"
        assert pytest.approx(figure, abs=2e-3) == float(found[1])


def test_the_forecasters_card_names_its_file() -> None:
    """Checksum, seed and command; and it is small enough for every installation."""
    shipped = checkpoint.load(_FORECAST)
    assert shipped.sha256 in _FORECAST_CARD
    assert f"--seed {shipped.card['seed']} " in _FORECAST_CARD
    assert _FORECAST.stat().st_size <= 90_000
