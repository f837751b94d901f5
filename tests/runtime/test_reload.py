"""A changed configuration is told apart: what holds at once, and what waits for a restart."""

from typing import Any

from pydantic import SecretStr

from anomalyd.runtime.reload import compare
from anomalyd.settings import Settings


def settings(**sections: Any) -> Settings:
    return Settings(**sections)


def test_nothing_changed_is_nothing() -> None:
    found = compare(Settings(), Settings())
    assert (Settings(), (), ()) == (found.settings, found.applied, found.waiting)


def test_a_rule_holds_at_once() -> None:
    wanted = settings(alerts={"budget_per_week": 2.0}, log={"level": "debug"})
    found = compare(Settings(), wanted)
    assert wanted == found.settings
    assert ("alerts.budget_per_week", "log.level") == found.applied


def test_what_needs_a_restart_stays_as_it_is_and_is_named_every_time() -> None:
    wanted = settings(mqtt={"host": "broker"}, streams=[{"topic": "a"}])
    first = compare(Settings(), wanted)
    assert Settings() == first.settings
    assert "mqtt.host" in first.waiting
    assert "streams.0.topic" in first.waiting
    assert first.waiting == compare(first.settings, wanted).waiting


def test_a_section_may_have_both() -> None:
    wanted = settings(channels={"max": 7, "max_skew_s": 5.0})
    found = compare(Settings(), wanted)
    assert settings(channels={"max_skew_s": 5.0}) == found.settings
    assert (("channels.max_skew_s",), ("channels.max",)) == (found.applied, found.waiting)


def test_a_stream_that_is_gone_waits() -> None:
    now = settings(streams=[{"topic": "a"}])
    assert "streams.0.topic" in compare(now, Settings()).waiting


def test_a_changed_secret_is_named_and_not_shown() -> None:
    wanted = settings(mqtt={"username": "u"}, password=SecretStr("s3cret"))
    assert ("mqtt.username", "mqtt password") == compare(Settings(), wanted).waiting
    token = settings(http_token=SecretStr("s3cret"))
    assert ("http token",) == compare(Settings(), token).waiting
