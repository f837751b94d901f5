"""The plot's rules: newest at the right, values solid, the band shaded, nothing where unknown."""

import math

from anomalyd.demo.plot import Point, plot


def test_value_is_solid_in_its_shaded_band() -> None:
    points = [Point(float(level), level - 1.0, level + 1.0) for level in range(1, 4)]
    lines = plot(points, width=3, height=5, per_column=1).plain.split("\n")
    assert lines == [
        "  ░",
        " ░█",
        "░█░",
        "█░ ",
        "░  ",
    ]


def test_several_readings_share_a_column_and_a_spike_stays_visible() -> None:
    points = [Point(value, math.nan, math.nan) for value in (0.0, 0.0, 0.0, 4.0)]
    assert plot(points, width=2, height=3, per_column=2).plain.split("\n") == [" █", " █", "██"]


def test_only_the_newest_that_fit_are_drawn() -> None:
    points = [Point(float(at), at - 0.1, at + 0.1) for at in range(50)]
    lines = plot(points, width=10, height=4, per_column=2).plain.split("\n")
    assert [len(line) for line in lines] == [10] * 4


def test_what_fires_is_red() -> None:
    text = plot([Point(1.0, 0.0, 2.0, firing=True)], width=1, height=3, per_column=1)
    styles = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styles["█"] == "bold red"


def test_nothing_known_is_an_empty_picture_of_the_same_height() -> None:
    unknown = Point(math.nan, math.nan, math.nan)
    assert plot([], width=4, height=3).plain == "\n\n"
    assert plot([unknown], width=4, height=3).plain == "\n\n"
