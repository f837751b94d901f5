"""The plots of a report show the first, the last and the highest."""

import numpy as np

from tests.faults import plot

X = np.linspace(0.0, 60.0, 200)
Y = np.linspace(300.0, 500.0, 200)


def test_it_rises_in_characters() -> None:
    head, *lines, foot = plot.text(X, Y, "minutes", "MB").splitlines()
    assert "MB" == head
    assert lines[0].startswith("500 |")
    assert lines[-1].startswith("300 |*")
    assert lines[0].endswith("*")
    assert foot.endswith("60 minutes")


def test_it_is_a_picture_from_zero_on() -> None:
    text = plot.svg(X, Y, "minutes", "MB")
    assert text.startswith("<svg ")
    assert "60.0,132.0" in text  # three fifths of the way up
    assert ">500<" in text
