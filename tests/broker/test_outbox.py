"""No alert is lost: not with the broker away, not by kill -9, not without a database; and what the
broker retains is put right after every connect. The real daemon on a real broker."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.publish as paho_publish
import pytest

from anomalyd.adapters.outbox import FILE, Outbox
from tests.broker.daemon import PLANT, Daemon, Heard, Subscriber, pour, publish, reading
from tests.programs import Mosquitto

SCORED = "anomalyd_readings_scored_total"
UNPUBLISHED = "anomalyd_alerts_unpublished"
NAMES = ("l/m/a", "l/m/b")
START_S = 1_700_000_000
QUIET = [value % 7 / 7 for value in range(3, 3000, 3)]
COMMANDS = "[commands]\nenabled = true\n"
ROOT = "anomalyd/main"


def calm(daemon: Daemon, broker: Mosquitto) -> None:
    """Two channels that have been quiet for long enough to be judged."""
    pour(
        broker,
        (reading(name, START_S + at, value) for at, value in enumerate(QUIET) for name in NAMES),
    )
    daemon.wait_for(SCORED, len(QUIET) * len(NAMES))
    assert 0 == daemon.raised()


def spike(broker: Mosquitto, name: str, at: int = 0) -> None:
    publish(broker, [reading(name, START_S + len(QUIET) + at, 1e3)])


def back(broker: Mosquitto, name: str) -> None:
    """Long enough to clear."""
    begin = START_S + len(QUIET) + 100
    publish(broker, (reading(name, begin + at, value) for at, value in enumerate(QUIET[:100])))


def database(directory: Path) -> Path:
    return directory / "state" / FILE


@contextmanager
def reader(directory: Path) -> Iterator[Outbox]:
    outbox = Outbox(database(directory), read_only=True)
    try:
        yield outbox
    finally:
        outbox.close()


def published(daemon: Daemon) -> bool:
    return daemon.metric(UNPUBLISHED) == 0


def told(heard: Heard) -> tuple[str, str]:
    return heard.document["channel"], heard.document["transition"]


def test_alerts_of_an_outage_are_told_afterwards_in_order(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Raised and cleared while the broker is dead: each is told once, with one id."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        messages = [reading("l/m/a", START_S + len(QUIET), 1e3)]
        begin = START_S + len(QUIET) + 1
        messages += [reading("l/m/a", begin + at, value) for at, value in enumerate(QUIET[:100])]
        # The kernel has them for the daemon, which reads them when the broker is dead.
        os.kill(daemon.pid, signal.SIGSTOP)
        pour(mosquitto, messages)
        mosquitto.kill()
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.wait_for(SCORED, 2 * len(QUIET) + len(messages))
        daemon.wait_until(lambda: daemon.metric(UNPUBLISHED) >= 2, 20)
        mosquitto.start()
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/a") as alerts:
            last = alerts.wait_for(lambda heard: heard.document["transition"] == "cleared")
        daemon.wait_until(lambda: published(daemon), 20)
        with reader(tmp_path) as outbox:
            history = outbox.history(last.document["id"])
    assert "raised" == history[0].what
    assert "cleared" == history[-1].what
    assert all(each.published for each in history)


def test_what_was_not_published_is_told_after_kill_9(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Between the commit and the broker's answer: the same id, the same bytes."""
    with Daemon(tmp_path, mosquitto.port, "[ingest]\nlinger_s = 0.5\n" + PLANT) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        spike(mosquitto, "l/m/a")
        daemon.wait_for("anomalyd_messages_received_total", 2 * len(QUIET) + 1)
        mosquitto.kill()
        daemon.wait_for(UNPUBLISHED, 1)
        daemon.wait_until(lambda: daemon.metric("anomalyd_outbox_unsaved") == 0, 20)
        daemon.kill()
    with reader(tmp_path) as outbox:
        (record,) = outbox.alerts()
        (raised,) = outbox.history(record.id)
    assert not raised.published
    mosquitto.start()
    with (
        Subscriber(mosquitto, f"{ROOT}/event") as events,
        Daemon(tmp_path, mosquitto.port) as again,
    ):
        heard = next(events.heard())
        assert raised.document == heard.payload
        again.wait_until(lambda: published(again), 20)


def test_what_the_broker_retains_is_put_right(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """What it has forgotten is retained again, what nobody knows of is cleared away."""
    stale = msgspec.json.encode({"id": "x", "transition": "raised", "channel": "l/m/gone"})
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        spike(mosquitto, "l/m/a")
        daemon.wait_until(lambda: daemon.raised() == 1 and published(daemon), 20)
        mosquitto.kill()  # it kept nothing on disk
        mosquitto.start()
        with Subscriber(mosquitto, f"{ROOT}/alert/#") as alerts:
            assert "l/m/a" == alerts.wait_for(lambda heard: True).document["channel"]
        mosquitto.kill()
        mosquitto.start()
        _retain(mosquitto, f"{ROOT}/alert/l/m/gone", stale)
        # Who listens only after it was cleared away is not told of that.
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/gone") as gone:
            daemon.wait_for("anomalyd_mqtt_connects_total", 3)
            assert b"" == gone.wait_for(lambda heard: not heard.payload).payload


def _retain(broker: Mosquitto, topic: str, payload: bytes) -> None:
    paho_publish.single(topic, payload, qos=1, retain=True, hostname=broker.host, port=broker.port)


def test_a_locked_database_stops_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Alerts are told from memory, that is a condition, and afterwards they are kept."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        other = sqlite3.connect(database(tmp_path), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with Subscriber(mosquitto, f"{ROOT}/event") as events:
            spike(mosquitto, "l/m/a")
            assert ("l/m/a", "raised") == told(next(events.heard()))
        daemon.wait_for('anomalyd_degraded{condition="outbox"}', 1)
        assert daemon.page("/-/ready") is None
        other.execute("ROLLBACK")
        other.close()
        daemon.wait_ready()
        with reader(tmp_path) as outbox:
            assert ["l/m/a"] == [each.channel for each in outbox.alerts(open_only=True)]
    assert 1 == daemon.text().count("degraded condition=outbox")


def test_a_damaged_database_is_set_aside(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """By name, with one line, and a new one begins."""
    database(tmp_path).parent.mkdir()
    database(tmp_path).write_bytes(b"not a database at all" * 1000)
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        spike(mosquitto, "l/m/a")
        daemon.wait_until(lambda: daemon.raised() == 1 and published(daemon), 20)
    names = [each.name for each in database(tmp_path).parent.iterdir()]
    assert 1 == sum(name.startswith(f"{FILE}.damaged-") for name in names)
    assert 1 == daemon.text().count("is damaged")
    with reader(tmp_path) as outbox:
        assert 1 == len(outbox.alerts())


def test_without_a_state_directory_alerts_are_told_from_memory(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    (tmp_path / "state").write_text("a file in its place")
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_for('anomalyd_degraded{condition="outbox"}', 1)
        calm(daemon, mosquitto)
        with Subscriber(mosquitto, f"{ROOT}/event") as events:
            spike(mosquitto, "l/m/a")
            assert ("l/m/a", "raised") == told(next(events.heard()))


def test_a_full_disk_stops_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """On a tmpfs without room; once there is room again, all is kept."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with Daemon(tmp_path, mosquitto.port) as daemon:
            daemon.wait_ready()
            calm(daemon, mosquitto)
            with pytest.raises(OSError), (state / "full").open("wb", buffering=0) as full:
                while True:
                    full.write(bytes(4096))
            with Subscriber(mosquitto, f"{ROOT}/event") as events:
                for at in range(2):
                    spike(mosquitto, NAMES[at])
                    assert (NAMES[at], "raised") == told(next(events.heard()))
            daemon.wait_for('anomalyd_degraded{condition="outbox"}', 1)
            (state / "full").unlink()
            daemon.wait_ready()
            with reader(tmp_path) as outbox:
                assert set(NAMES) == {each.channel for each in outbox.alerts(open_only=True)}
    finally:
        subprocess.run(["umount", "-l", state], check=True)


# --- commands -----------------------------------------------------------------------------------


def ask(broker: Mosquitto, verb: str, **command: Any) -> Any:
    """Give a command; what is replied."""
    with Subscriber(broker, f"{ROOT}/reply/{verb}") as replies:
        publish(broker, [(f"{ROOT}/command/{verb}", msgspec.json.encode(command))])
        return next(replies.heard()).document


def test_an_acknowledgement_is_shown_and_survives(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """In the retained alert, and in the database after a restart; so does what somebody says it
    was."""
    with Daemon(tmp_path, mosquitto.port, COMMANDS + PLANT) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        spike(mosquitto, "l/m/a")
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/a") as alerts:
            identity = next(alerts.heard()).document["id"]
            reply = ask(mosquitto, "acknowledge", id=identity, by="ada", request=7)
            assert {"ok": True, "request": 7, "error": None, "until": None} == reply
            shown = alerts.wait_for(lambda heard: heard.document["acknowledged"] is not None)
            assert "ada" == shown.document["acknowledged"]["by"]
        assert ask(mosquitto, "feedback", id=identity, verdict="confirmed")["ok"]
        assert not ask(mosquitto, "feedback", id=identity, verdict="perhaps")["ok"]
        assert not ask(mosquitto, "acknowledge", id="nobody")["ok"]
        assert 1 == daemon.metric('anomalyd_commands_total{result="error",verb="feedback"}')
    with reader(tmp_path) as outbox:
        (record,) = outbox.confirmed()
    assert (identity, "ada") == (record.id, record.acknowledged_by)
    assert "Traceback" not in daemon.text()


def test_what_was_confirmed_is_not_accepted_not_even_after_kill_9(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """The same fault on two channels, for longer than `accept_after_s`; nothing was saved since."""
    config = f"[alerts]\naccept_after_s = 60.0\n{COMMANDS}{PLANT}"
    rarely = {"ANOMALYD_STATE__SAVE_EVERY_S": "3600"}

    def swing(begin: int, seconds: int) -> None:
        at_s = START_S + len(QUIET) + begin
        swings = [(at_s + at, 1e3 * (-1.0) ** at) for at in range(seconds)]
        publish(mosquitto, [reading(name, when, x) for when, x in swings for name in NAMES])

    with Daemon(tmp_path, mosquitto.port, config, rarely) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/a") as alerts:
            swing(0, 5)
            identity = next(alerts.heard()).document["id"]
        assert ask(mosquitto, "feedback", id=identity, verdict="confirmed")["ok"]
        daemon.kill()
    with Daemon(tmp_path, mosquitto.port, config, rarely) as daemon:
        daemon.wait_ready()
        swing(5, 200)
        daemon.wait_for("anomalyd_regime_changes_total", 1)
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/b") as alerts:
            assert alerts.wait_for(lambda heard: heard.document["accepted"])
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/a") as alerts:
            shown = next(alerts.heard()).document
        assert (identity, False) == (shown["id"], shown["accepted"])
        assert 1 == daemon.metric("anomalyd_regime_changes_total")


def test_no_replay_accepts_what_was_confirmed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Killed long after `accept_after_s`, with all of it in the journal alone: what is done again
    is what was done. The same fault on two channels, one of them confirmed."""
    config = f"[alerts]\naccept_after_s = 60.0\n{COMMANDS}{PLANT}"
    rarely = {"ANOMALYD_STATE__SAVE_EVERY_S": "3600"}
    begin = START_S + len(QUIET)

    def swing(first: int, last: int) -> None:
        swings = [(begin + at, 1e3 * (-1.0) ** at) for at in range(first, last)]
        publish(mosquitto, [reading(name, when, x) for when, x in swings for name in NAMES])

    with Daemon(tmp_path, mosquitto.port, config, rarely) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        with Subscriber(mosquitto, f"{ROOT}/alert/l/m/a") as alerts:
            swing(0, 5)
            identity = next(alerts.heard()).document["id"]
        assert ask(mosquitto, "feedback", id=identity, verdict="confirmed")["ok"]
        swing(5, 200)
        daemon.wait_for(SCORED, (len(QUIET) + 200) * len(NAMES))
        daemon.wait_for("anomalyd_regime_changes_total", 1)
        daemon.kill()
    with Daemon(tmp_path, mosquitto.port, config, rarely) as daemon:
        daemon.wait_ready()
        assert 1 == daemon.metric("anomalyd_regime_changes_total")
    with reader(tmp_path) as outbox:
        told = [msgspec.json.decode(each.document) for each in outbox.history(identity)]
    assert {False} == {each["accepted"] for each in told}


def test_a_channel_in_maintenance_raises_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """And after the end of it, it does again; a restart doesn't end it."""
    in_maintenance = 'anomalyd_channels{state="maintenance"}'
    with Daemon(tmp_path, mosquitto.port, COMMANDS + PLANT) as daemon:
        daemon.wait_ready()
        calm(daemon, mosquitto)
        assert ask(mosquitto, "maintenance", channels=["l/m/a", "k/*"], for_s=3600)["ok"]
        daemon.wait_for(in_maintenance, 1)
        for name in NAMES:
            spike(mosquitto, name)
        daemon.wait_for(SCORED, 2 * len(QUIET) + 2)
        assert 1 == daemon.raised()
        assert ask(mosquitto, "maintenance", channels=["l/m/a"], end=True)["ok"]
        daemon.wait_until(lambda: daemon.metric(in_maintenance) == 0, 20)
        spike(mosquitto, "l/m/a", 1)
        daemon.wait_until(lambda: daemon.raised() == 2, 20)
        back(mosquitto, "l/m/a")
        daemon.wait_for(SCORED, 2 * len(QUIET) + 3 + 100)
        assert ask(mosquitto, "maintenance", channels=["l/m/a"], for_s=3600)["ok"]
    with Daemon(tmp_path, mosquitto.port, COMMANDS + PLANT) as again:
        again.wait_ready()
        again.wait_for(in_maintenance, 1)
        spike(mosquitto, "l/m/a", 300)
        again.wait_for(SCORED, 1)
        assert 0 == again.raised()


def test_commands_are_off_unless_enabled(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Nobody has to answer for what he didn't open."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        publish(mosquitto, [(f"{ROOT}/command/maintenance", b'{"channels":["*"],"for_s":9}')])
        calm(daemon, mosquitto)
        assert not any("anomalyd_commands_total{" in name for name in daemon.metrics())
