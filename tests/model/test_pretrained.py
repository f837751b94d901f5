"""The shipped model is what its card says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from anomalyd.model import checkpoint
from anomalyd.model.next_step import NextStep
from anomalyd.model.training import Report
from anomalyd.runtime.train import validate_synthetic

_CARD = checkpoint.shipped().with_name("CARD.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def validated() -> Report:
    network = checkpoint.load(checkpoint.shipped()).network
    assert isinstance(network, NextStep)
    return validate_synthetic(network)


def _stated(name: str) -> float:
    found = re.search(rf"^\| {re.escape(name)} \| ([0-9.]+)", _CARD, re.MULTILINE)
    assert found, f"the card doesn't state {name!r}"
    return float(found[1])


def test_it_beats_persistence_by_the_margin_in_the_card(validated: Report) -> None:
    """On its validation corpus: mean absolute error and log-loss, by what the card promises."""
    margin = re.search(r"at least (\d+) % below persistence", _CARD)
    assert margin
    assert validated.mae <= 1.0 - int(margin[1]) / 100
    assert validated.nll < validated.nll_persistence


def test_the_card_states_what_is_measured(validated: Report) -> None:
    """Every figure in the card comes out again."""
    figures: dict[str, Any] = validated.as_dict()
    for name, key in (
        ("LSTM", "mae"),
        ("best single expert of each series, chosen afterwards", "mae_best_expert"),
        ("seasonal-naive with the true period", "mae_seasonal_naive"),
    ):
        assert pytest.approx(figures[key], abs=2e-3) == _stated(name)


def test_the_card_names_this_file() -> None:
    """Checksum, seed and command are those of the file beside it."""
    shipped = checkpoint.load(checkpoint.shipped())
    assert shipped.sha256 in _CARD
    assert f"--seed {shipped.card['seed']} " in _CARD


def test_the_file_is_small() -> None:
    """It goes into every installation."""
    assert checkpoint.shipped().stat().st_size < 200_000
