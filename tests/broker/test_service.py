"""The daemon as a process: it drains and says goodbye on a signal, ends where a part has died,
tells systemd how it is, and comes back after SIGKILL. The real one on a real broker."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.broker.daemon import PLANT, WITHIN_S, Daemon, Subscriber, pour, publish, reading
from tests.faults.proxy import Proxy
from tests.programs import Mosquitto, free_port

SCORED = "anomalyd_readings_scored_total"
STATUS = "anomalyd/main/status"
START_S = 1_700_000_000
STOPS_WITHIN_S = 5.0


def state(broker: Mosquitto) -> str:
    """What the retained status says now."""
    with Subscriber(broker, STATUS) as status:
        heard = next(status.heard())
    assert heard.retained
    return str(heard.document["state"])


def until_state(broker: Mosquitto, expected: str) -> None:
    with Subscriber(broker, STATUS) as status:
        status.wait_for(lambda heard: heard.document["state"] == expected)


def test_it_serves_without_torch(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Ready, and having scored: none of its libraries is in the process, though it may retrain."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        publish(mosquitto, (reading("l/m/x", START_S + at, at % 7) for at in range(50)))
        daemon.wait_for(SCORED, 50)
        assert "libtorch" not in Path(f"/proc/{daemon.pid}/maps").read_text()


def test_who_is_ready_hears_the_next_reading(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Behind a slow network too, over which subscribing takes a while longer than connecting."""
    with Proxy(mosquitto.port) as proxy, Daemon(tmp_path, proxy.port) as daemon:
        proxy.delay()
        daemon.wait_ready()
        pour(mosquitto, [reading("l/m/x", START_S, 1.0)])
        daemon.wait_for(SCORED, 1)


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_says_goodbye(
    tmp_path: Path, mosquitto: Mosquitto, number: signal.Signals
) -> None:
    """Everything that the broker had before the signal is scored, offline is retained, exit 0."""
    count = 10_000
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        assert "online" == state(mosquitto)
        pour(mosquitto, (reading(f"l/m/{at % 200}", START_S + at, at % 7) for at in range(count)))
        begin = time.monotonic()
        os.kill(daemon.pid, number)
        assert 0 == daemon.stop()
        assert time.monotonic() - begin < STOPS_WITHIN_S
    assert f"stopped readings_scored={count}" in daemon.text()
    assert "offline" == state(mosquitto)


def test_it_stops_soon_without_a_broker(tmp_path: Path) -> None:
    """There is nobody to say goodbye to."""
    with Daemon(tmp_path, free_port()) as daemon:
        daemon.wait_healthy()
        begin = time.monotonic()
        assert 0 == daemon.stop()
        assert time.monotonic() - begin < STOPS_WITHIN_S


def test_it_stops_soon_under_a_flood(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """More than can be scored before systemd loses its patience: goodbye is still said."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        for first in range(0, 120_000, 40_000):
            pour(
                mosquitto,
                (
                    reading(f"l/m/{at % 200}", START_S + at, at % 7)
                    for at in range(first, first + 40_000)
                ),
            )
        begin = time.monotonic()
        assert 0 == daemon.stop()
        assert time.monotonic() - begin < 15.0
    assert "offline" == state(mosquitto)


def test_after_sigkill_the_will_speaks_and_it_can_be_started_again(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """The broker itself says offline; the next one is online and scores."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        assert "online" == state(mosquitto)
        assert -signal.SIGKILL == daemon.kill()
    until_state(mosquitto, "offline")
    with Daemon(tmp_path, mosquitto.port, http_port=daemon.http_port) as again:
        again.wait_ready()
        assert "online" == state(mosquitto)
        sent = publish(mosquitto, (reading("l/m/x", START_S + at, at % 7) for at in range(100)))
        again.wait_for(SCORED, sent)


# --- parts that die ---------------------------------------------------------------------------

# The daemon with one part that breaks while it runs, as a program.
_BREAKS = """
import sys
from dataclasses import replace
from anomalyd import cli, service
from anomalyd.runtime import registry

def break_pipeline():
    class Poisoned:
        def __init__(self, sound):
            self._sound = sound
        def observe(self, rows, values, beats):
            raise ZeroDivisionError("a poisoned predictor")
        def __getattr__(self, name):
            return getattr(self._sound, name)

    load = registry.load
    def poisoned(*about):
        served = load(*about)
        return replace(served, predictors=[Poisoned(each) for each in served.predictors])
    registry.load = poisoned

def break_mqtt():
    class Broken(service.Inbox):
        def put(self, message):
            raise ZeroDivisionError("a broken inbox")
    service.Inbox = Broken

def break_http():
    class Ending(service.HttpServer):
        def start(self):
            super().start()
            self._server.should_exit = True
    service.HttpServer = Ending

globals()["break_" + sys.argv[1]]()
sys.exit(cli.run(["run", "--config", sys.argv[2]]))
"""


@pytest.mark.parametrize("part", ["pipeline", "mqtt", "http"])
def test_a_dead_thread_ends_the_process(tmp_path: Path, mosquitto: Mosquitto, part: str) -> None:
    """With status 1, so that systemd starts it again; the log names the thread, and the broker's
    clients learn that it is offline."""
    program = ("-c", _BREAKS, part)
    with (
        Subscriber(mosquitto, STATUS) as status,
        Daemon(tmp_path, mosquitto.port, program=program) as daemon,
    ):
        status.wait_for(lambda heard: heard.document["state"] == "online")
        deadline = time.monotonic() + WITHIN_S
        while _runs(daemon.pid) and time.monotonic() < deadline:
            publish(mosquitto, [reading("l/m/x", START_S + time.monotonic(), 1.0)])
        assert 1 == daemon.stop()
        status.wait_for(lambda heard: heard.document["state"] == "offline")
    last = daemon.text().splitlines()[-1]
    assert f"anomalyd: the {part} thread is dead; see the log above" == last


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


# --- the start --------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_one_line_and_1(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Nothing was started: neither a status nor a reading."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Daemon(tmp_path, mosquitto.port, http_port=port) as daemon:
            deadline = time.monotonic() + WITHIN_S
            while _runs(daemon.pid) and time.monotonic() < deadline:
                os.sched_yield()
            assert 1 == daemon.stop()
    said = f"anomalyd: http: can't listen on 127.0.0.1:{port}: Address already in use"
    state, line = daemon.text().splitlines()
    assert "a clean start" in state
    assert said == line


# --- systemd ----------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens where systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(WITHIN_S)
        yield listener


def watched(tmp_path: Path) -> dict[str, str]:
    """The environment of a unit with WatchdogSec=2."""
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}


def heard(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


def test_systemd_hears_how_it_is(
    tmp_path: Path, mosquitto: Mosquitto, manager: socket.socket
) -> None:
    """READY once it serves, a status that a person understands, WATCHDOG again and again, and
    STOPPING before it drains."""
    with Daemon(tmp_path, mosquitto.port, environment=watched(tmp_path)) as daemon:
        assert "READY=1" == heard(manager)
        assert daemon.page("/-/healthy") is not None
        found = {heard(manager).partition("=")[0] for _ in range(2)}
        assert {"WATCHDOG", "STATUS"} == found
        began = time.monotonic()
        assert ["WATCHDOG=1"] * 3 == [heard(manager) for _ in range(3)]
        assert time.monotonic() - began < 3 * 2.0
        assert 0 == daemon.stop()
        rest = iter(lambda: heard(manager), "STOPPING=1")
        assert {"WATCHDOG=1"} >= set(rest)


def test_it_is_ready_for_systemd_before_the_broker_is_there(
    tmp_path: Path, manager: socket.socket
) -> None:
    """`systemctl start` doesn't wait for the broker; the status says what is missing."""
    with Daemon(tmp_path, free_port(), environment=watched(tmp_path)):
        assert "READY=1" == heard(manager)
        said = next(each for each in iter(lambda: heard(manager), "") if each.startswith("STATUS"))
        assert said.startswith("STATUS=waiting for the broker, 0 channels")


_HANGS = _BREAKS.replace(
    'raise ZeroDivisionError("a poisoned predictor")', "__import__('time').sleep(60)"
)


def test_a_pipeline_that_hangs_does_not_feed_the_watchdog(
    tmp_path: Path, mosquitto: Mosquitto, manager: socket.socket
) -> None:
    """All threads are alive, and nothing is scored: the watchdog is fed by progress, so systemd
    kills and restarts it."""
    program = ("-c", _HANGS, "pipeline")
    environment = watched(tmp_path)
    with Daemon(tmp_path, mosquitto.port, environment=environment, program=program) as daemon:
        daemon.wait_ready()
        publish(mosquitto, [reading("l/m/x", START_S + at, 1.0) for at in range(2)])
        daemon.wait_for("anomalyd_messages_received_total", 2)
        manager.settimeout(3.0)
        deadline = time.monotonic() + WITHIN_S
        with pytest.raises(TimeoutError):
            while time.monotonic() < deadline:
                heard(manager)
        assert -signal.SIGKILL == daemon.kill()


# --- what it must not do ----------------------------------------------------------------------


def test_it_does_not_listen_to_itself(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A stream may take in all topics, also those that it writes: its own scores are no readings,
    or each would lead to another."""
    everything = '[alerts]\npublish_scores = true\n[[streams]]\ntopic = "{all*}"\n'
    with (
        Daemon(tmp_path, mosquitto.port, everything + 'time = "time"\n') as daemon,
        Subscriber(mosquitto, "anomalyd/main/score/#") as scores,
    ):
        daemon.wait_ready()
        for at in range(5):
            publish(mosquitto, [("plant/x", b'{"time":%d,"value":%d}' % (START_S + at, at))])
        for wanted in range(1, 5):
            scores.wait_for(lambda said, value=wanted: said.document["value"] == value)  # type: ignore[misc]
        publish(mosquitto, [("plant/last", b'{"time":1700000000,"value":1}')])
        daemon.wait_until(lambda: daemon.metric('anomalyd_channels{state="warming"}') >= 2, 20)
        assert 6 == daemon.metric(SCORED)


def test_streams_of_two_forms_are_served_together(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A bare number, a dotted path and every field, each its own channels with its labels."""
    streams = f"""
        {PLANT}
        [[streams]]
        topic = "bare/{{sensor}}"
        value = ""
        [[streams]]
        topic = "every/{{machine}}"
        value = "*"
        time = "at"
        [[streams]]
        topic = "deep/{{path*}}"
        value = "data.value"
        """
    with Daemon(tmp_path, mosquitto.port, streams) as daemon:
        daemon.wait_ready()
        messages = [
            reading("l/m/x", START_S, 1.0),
            ("bare/y", b"2.5"),
            ("every/m1", b'{"at":"2023-11-14T22:13:20Z","t":1,"motor":{"rpm":2}}'),
            ("deep/a/b/c", b'{"data":{"value":3}}'),
        ]
        publish(mosquitto, messages)
        daemon.wait_for(SCORED, 5)
        assert 5 == daemon.metric('anomalyd_channels{state="warming"}')
        assert {} == daemon.rejected()


# --- a changed configuration ------------------------------------------------------------------

BUDGET = "anomalyd_alarm_budget_per_week"


def test_sighup_changes_the_rules_whole_or_not_at_all(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A file with a mistake changes nothing; a good one does, without a restart."""
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        before = daemon.metric(BUDGET)
        config = tmp_path / f"daemon-{daemon.http_port}.toml"
        good = config.read_text()
        config.write_text(f"{good}[alerts]\nbudget_per_week = 0.5\nclear_readings = -1\n")
        os.kill(daemon.pid, signal.SIGHUP)
        refused = "not reloaded, the old configuration stays in force: "
        daemon.wait_until(lambda: refused in daemon.text(), WITHIN_S)
        assert before == daemon.metric(BUDGET)
        config.write_text(f"{good}[alerts]\nbudget_per_week = 0.5\n[channels]\nmax = 7\n")
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_until(lambda: daemon.metric(BUDGET) == 0.5, WITHIN_S)
        waits = "changed, but needs a restart: channels.max"
        daemon.wait_until(lambda: waits in daemon.text(), WITHIN_S)
        assert 1 == daemon.text().count(refused)


@pytest.mark.parametrize("broken", ["", "a = " + "[" * 100_000], ids=["empty", "deep"])
def test_sighup_survives_any_file(tmp_path: Path, mosquitto: Mosquitto, broken: str) -> None:
    """Also one that a start would refuse, and one that its reader has no stack for."""
    with Daemon(tmp_path, mosquitto.port, f"{PLANT}[alerts]\nbudget_per_week = 0.5\n") as daemon:
        daemon.wait_ready()
        (tmp_path / f"daemon-{daemon.http_port}.toml").write_text(broken)
        os.kill(daemon.pid, signal.SIGHUP)
        refused = "not reloaded, the old configuration stays in force: "
        daemon.wait_until(lambda: refused in daemon.text(), WITHIN_S)
        assert 0.5 == daemon.metric(BUDGET)


def test_hostile_http_clients_do_not_touch_scoring(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """More of them than it serves: requests that never end, headers without end, answers unread."""
    with Daemon(tmp_path, mosquitto.port) as daemon, ExitStack() as hostile:
        daemon.wait_ready()
        for number in range(300):
            client = socket.create_connection(("127.0.0.1", daemon.http_port), timeout=5)
            hostile.enter_context(client)
            start = b"GET /metrics HTTP/1.1\r\nHost: h\r\n"
            client.sendall(start + (b"X: " + b"x" * 60_000 if number % 2 else b"\r\n"))
        sent = publish(mosquitto, (reading(f"a/b/s{n % 10}", START_S + n, 1.0) for n in range(500)))
        hostile.close()
        daemon.wait_for(SCORED, sent)
        latency = "anomalyd_scoring_latency_seconds"
        within = daemon.metric(f'{latency}_bucket{{le="1.0"}}')
        assert daemon.metric(f"{latency}_count") == within
