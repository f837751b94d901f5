"""The broker's rules: subscribed at every connect, birth and will, read ahead, and a refusal that
is told by name. Against a real mosquitto."""

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.publish import multiple

from anomalyd.adapters.mqtt import TICKET_DUP, Echo, MqttClient
from anomalyd.adapters.mqtt.buffered import BufferedClient, BufferedSocket
from anomalyd.errors import ConfigError
from anomalyd.settings import Mqtt
from tests.broker.daemon import WITHIN_S, Subscriber, pour, publish
from tests.programs import Mosquitto, free_port, require

STATUS = "anomalyd/main/status"
BIRTH = b'{"state":"online"}'
WILL = b'{"state":"offline"}'

Received = tuple[str, bytes, bool]


class Inbox:
    """What `on_message` was called with, in order."""

    def __init__(self) -> None:
        self.tickets: list[int] = []
        self.acknowledge: Callable[[Sequence[int]], None] = self.tickets.extend
        self._queue: queue.SimpleQueue[Received] = queue.SimpleQueue()

    def __call__(self, topic: str, payload: bytes, retained: bool, ticket: int) -> None:
        self._queue.put((topic, payload, retained))
        self.acknowledge((ticket,))

    def size(self) -> int:
        return self._queue.qsize()

    def take(self, count: int) -> list[Received]:
        return [self._queue.get(timeout=WITHIN_S) for _ in range(count)]


def build(port: int, inbox: Inbox, *topics: str, password: str | None = None) -> MqttClient:
    settings = Mqtt(
        port=port,
        reconnect_max_s=1.0,
        username="anomalyd" if password is not None else "",
        clean_session=True,
    )
    return make(settings, inbox, *topics, password=password)


def make(settings: Mqtt, inbox: Inbox, *topics: str, password: str | None = None) -> MqttClient:
    """A client that acknowledges at once."""
    client = MqttClient(settings, "main", password, topics, lambda: BIRTH, WILL, inbox)
    inbox.acknowledge = client.acknowledge
    return client


@contextmanager
def connected(broker: Mosquitto, *topics: str) -> Iterator[tuple[MqttClient, Inbox]]:
    """A client that is connected and subscribed, and what it hears."""
    inbox = Inbox()
    with started(build(broker.port, inbox, *topics)) as client:
        wait_until(lambda: client.connected)
        if topics:
            publish(broker, [(topics[0], b"first")])
            assert (topics[0], b"first", False) == inbox.take(1)[0], "subscribed"
        yield client, inbox


@contextmanager
def started(client: MqttClient) -> Iterator[MqttClient]:
    client.start()
    try:
        yield client
    finally:
        client.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.01)


def paho_client(client: MqttClient) -> paho.Client:
    return client._client


# --- readings in ------------------------------------------------------------------------------


def test_messages_arrive_in_order_as_bytes(mosquitto: Mosquitto) -> None:
    """Whatever the bytes are; the topic is text."""
    payloads = [b"", b"\x00\xff", b"x" * 1_000_000, *(str(each).encode() for each in range(5000))]
    with connected(mosquitto, "plant/x") as (_, inbox):
        publish(mosquitto, [("plant/x", payload) for payload in payloads])
        assert [("plant/x", payload, False) for payload in payloads] == inbox.take(len(payloads))


def test_a_retained_message_is_marked(mosquitto: Mosquitto) -> None:
    """It is a replay of an old value, and the intake must know."""
    with connected(mosquitto) as (client, _):
        assert client.publish("plant/old", b"1", retain=True)
        wait_until(lambda: retained(mosquitto, "plant/old") == b"1")
    inbox = Inbox()
    with started(build(mosquitto.port, inbox, "plant/old")):
        assert [("plant/old", b"1", True)] == inbox.take(1)


def test_paho_reads_from_the_buffered_socket(mosquitto: Mosquitto) -> None:
    """paho has no public hook for a socket of ours: this fails when a later paho no longer calls
    `_create_socket`, and readings then cost more CPU again."""
    with connected(mosquitto, "plant/x") as (client, inbox):
        assert isinstance(paho_client(client).socket(), BufferedSocket)
        publish(mosquitto, [("plant/x", b"1")])
        assert [("plant/x", b"1", False)] == inbox.take(1)


def test_what_it_sends_waits_for_no_other_packet(mosquitto: Mosquitto) -> None:
    """An alert is two messages: the second must not wait for the ACK of the first."""
    with connected(mosquitto, "plant/x") as (client, _):
        own: Any = paho_client(client).socket()
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_without_the_hook_messages_still_arrive(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paho that doesn't call the hook has a plain socket, and everything works on it."""
    monkeypatch.delattr(BufferedClient, "_create_socket")
    payloads = [str(each).encode() for each in range(500)]
    with connected(mosquitto, "plant/x") as (client, inbox):
        assert not isinstance(paho_client(client).socket(), BufferedSocket)
        publish(mosquitto, [("plant/x", payload) for payload in payloads])
        assert payloads == [payload for _, payload, _ in inbox.take(500)]


class Stream:
    """A socket that gives out `pieces`, and then has nothing yet."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv(self, size: int) -> bytes:
        if not self._pieces:
            raise BlockingIOError
        return self._pieces.pop(0)


def packet(first: int, body: bytes) -> bytes:
    """A control packet of MQTT: type and flags, the remaining length, the rest."""
    length, left = bytearray(), len(body)
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    length.append(left)
    return bytes([first, *length]) + body


def published(topic: bytes, payload: bytes, flags: int = 0, mid: int = 0) -> bytes:
    number = mid.to_bytes(2, "big") if mid else b""
    qos = 0x32 if mid else 0x30
    return packet(qos | flags, len(topic).to_bytes(2, "big") + topic + number + payload)


PACKETS = st.one_of(
    st.tuples(
        st.binary(max_size=9),
        st.binary(max_size=300),
        st.sampled_from([0, 1, 8]),
        st.sampled_from([0, 0, 1, 258, 65_535]),
    ).map(lambda parts: published(*parts)),
    st.tuples(
        st.integers(0, 255).filter(lambda first: first & 0xF6 not in (0x30, 0x32)), st.binary()
    ).map(lambda parts: packet(*parts)),
)


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(PACKETS, max_size=20), st.lists(st.integers(1, 400), min_size=1), st.randoms())
def test_plain_messages_are_taken_out_however_the_bytes_come(
    packets: list[bytes], sizes: list[int], random: Random
) -> None:
    """Each message of QoS 0 and 1 once and in order, the latter with a ticket that knows packet id,
    DUP and connection; all other packets, in order, are paho's."""
    stream, pieces = b"".join(packets), []
    while stream:
        size = random.choice(sizes)
        pieces.append(stream[:size])
        stream = stream[size:]
    taken: list[bytes] = []

    def take(topic: str, payload: bytes, retained: bool, ticket: int) -> None:
        assert ticket >> 17 == (5 if ticket else 0)
        number = (ticket & 0xFFFF).to_bytes(2, "big") if ticket else b""
        taken.append(number + payload + bytes([retained | bool(ticket & 0x10000) << 3]))

    sorting = BufferedSocket(Stream(pieces), take, connection=5)
    left = bytearray()
    while pieces or sorting.pending():
        with suppress(BlockingIOError):
            left += sorting.recv(random.choice(sizes))
    plain = [each for each in packets if each[0] & 0xF6 in (0x30, 0x32)]
    assert b"".join(each for each in packets if each not in plain) == bytes(left)
    marks = [each[0] & (9 if each[0] & 2 else 1) for each in plain]
    assert marks == [each[-1] for each in taken]
    assert all(whole.endswith(each[:-1]) for whole, each in zip(plain, taken, strict=True))


class Records(Stream):
    """As over TLS: a record at a time, and it can tell what it has decrypted."""

    def recv(self, size: int) -> bytes:
        read = super().recv(size)
        if read == b"reset":
            raise ConnectionResetError
        return read

    def pending(self) -> int:
        return 0


@pytest.mark.parametrize("end", [[], [b"", b""], [b"reset", b""]])
def test_records_that_are_there_are_read_together(end: list[bytes]) -> None:
    """Also those before the connection ends, which the next read tells."""
    taken: list[bytes] = []
    records = [published(b"t", bytes([number])) for number in range(40)]
    sorting = BufferedSocket(Records([*records, *end]), lambda *about: taken.append(about[1]))
    with suppress(BlockingIOError):
        sorting.recv(1)
    assert [bytes([number]) for number in range(40)] == taken
    over = pytest.raises(BlockingIOError) if not end else nullcontext()
    with over:
        assert not sorting.recv(1)


def test_what_is_no_packet_is_left_to_paho() -> None:
    """A length of five bytes, and a name longer than its message."""
    for wrong in (
        b"\x30\xff\xff\xff\xff\x01",
        packet(0x30, b"\x00\x09abc"),
        packet(0x30, b""),
        packet(0x32, b"\x00\x01a\x01"),
        packet(0x32, b"\x00\x01a\x00\x00no packet has this id"),
    ):
        sorting = BufferedSocket(Stream([wrong]), lambda *about: pytest.fail("taken"))
        assert wrong == sorting.recv(100)


def test_what_is_held_stays_with_the_broker() -> None:
    """Nothing is read meanwhile, and paho's turn goes on."""
    pieces, taken, held = [published(b"t", b"1", mid=7)], [], [True]
    sorting = BufferedSocket(
        Stream(pieces), lambda *about: taken.append(about), hold=lambda: held[0]
    )
    with pytest.raises(BlockingIOError):
        sorting.recv(9)
    assert (1, [], 0) == (len(pieces), taken, sorting.pending())
    held[0] = False
    with pytest.raises(BlockingIOError):
        sorting.recv(9)
    assert [("t", b"1", False, 7)] == taken


def test_properties_of_mqtt_5_are_passed_over() -> None:
    """However long they are; where they are too long for their packet, it is paho's."""
    long = b"\x26" + b"\x00\x01n" + (200).to_bytes(2, "big") + b"v" * 200
    bodies = [b"\x00", b"\x02\x01\x01", bytes([len(long) & 127 | 128, len(long) >> 7]) + long]
    taken: list[tuple[bytes, int]] = []
    stream = b"".join(published(b"t", body + b"1", mid=mid) for mid in (0, 7) for body in bodies)
    wrong = published(b"t", b"\x05\x01")
    sorting = BufferedSocket(
        Stream([stream + wrong]),
        lambda topic, payload, retained, ticket: taken.append((payload, ticket)),
        properties=True,
    )
    assert wrong == sorting.recv(100)
    assert [(b"1", 0)] * 3 + [(b"1", 7)] * 3 == taken


# --- acknowledgements -------------------------------------------------------------------------


def test_what_is_not_acknowledged_comes_again(mosquitto: Mosquitto) -> None:
    """On the next connection, marked; a ticket of the one before acknowledges nothing there."""
    inbox = Inbox()
    persistent = Mqtt(port=mosquitto.port, reconnect_max_s=1)
    client = make(persistent, inbox, "plant/x")
    inbox.acknowledge = inbox.tickets.extend
    with started(client):
        wait_until(lambda: client.connected)
        publish(mosquitto, [("plant/x", b"1"), ("plant/x", b"2"), ("plant/x", b"3")])
        inbox.take(3)
        client.acknowledge(inbox.tickets[:1])
        link = paho_client(client).socket()
        assert isinstance(link, BufferedSocket)
        wait_until(lambda: not paho_client(client).want_write())
        link.shutdown(socket.SHUT_RDWR)
        assert [("plant/x", b"2", False), ("plant/x", b"3", False)] == inbox.take(2)
        again = inbox.tickets[3:]
        assert [True, True] == [bool(ticket & TICKET_DUP) for ticket in again]
        client.acknowledge(inbox.tickets[:3])  # of the connection before: sent, or it would be lost
        link = paho_client(client).socket()
        assert isinstance(link, BufferedSocket)
        link.shutdown(socket.SHUT_RDWR)
        assert [("plant/x", b"2", False), ("plant/x", b"3", False)] == inbox.take(2)


def test_acknowledgements_go_out_in_one_piece(mosquitto: Mosquitto) -> None:
    """paho has no public way: this fails when a later one has no `_packet_queue`, and each then
    costs as much as a message."""
    assert hasattr(paho.Client, "_packet_queue")
    with connected(mosquitto, "plant/x") as (client, inbox):
        inbox.acknowledge = inbox.tickets.extend
        publish(mosquitto, [("plant/x", b"1")] * 20)
        inbox.take(20)
        client.acknowledge(inbox.tickets)
        inbox.acknowledge = client.acknowledge
        # The window is 20: more come only if all were heard.
        publish(mosquitto, [("plant/x", b"2")] * 100)
        assert 100 == len(inbox.take(100))


def test_without_that_way_they_go_one_by_one(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyd.adapters.mqtt.buffered._QUEUE", "_gone")
    with connected(mosquitto, "plant/x") as (_, inbox):
        publish(mosquitto, [("plant/x", b"2")] * 100)
        assert 100 == len(inbox.take(100))


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_qos_arrives_once(mosquitto: Mosquitto, qos: Any, version: Any) -> None:
    """And the broker hears of it: its window never closes."""
    inbox = Inbox()
    named = Mqtt(
        port=mosquitto.port,
        qos=qos,
        version=version,
        user_properties=("plant=north",) if version == "5" else (),
    )
    with started(make(named, inbox, "plant/x")) as client:
        wait_until(lambda: client.connected)
        publish_until_heard(mosquitto, "plant/x", inbox)
        sent = [(b"%d" % at) for at in range(50)]
        multiple([("plant/x", each, qos, False) for each in sent], port=mosquitto.port)
        assert [("plant/x", each, False) for each in sent] == inbox.take(50)


def test_a_flood_does_not_keep_paho_from_its_other_work(mosquitto: Mosquitto) -> None:
    """What is read ahead is handled in bounded portions: between them paho writes and pings, or
    the broker would take a daemon that is busy for one that is dead."""
    received = 0
    portions = []

    def on_message(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        nonlocal received
        received += 1

    class Counted(BufferedClient):
        def loop_read(self, max_packets: int = 1) -> Any:
            before = received
            result = super().loop_read(max_packets)
            portions.append(received - before)
            return result

    client = Counted(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_connect = lambda client, *about: client.subscribe("plant/#")
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    try:
        with flooding(mosquitto, "plant/x", b"1"):
            wait_until(lambda: received > 120_000)
    finally:
        client.disconnect()
        client.loop_stop()
    assert max(portions) < 10_000


@contextmanager
def flooding(broker: Mosquitto, topic: str, payload: bytes) -> Iterator[None]:
    """Publish with QoS 0 as fast as the broker takes it."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            pour(broker, [(topic, payload)] * 10_000)

    thread = threading.Thread(target=go_on, name="flood")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_socket_behind_gives_the_bytes_that_were_sent() -> None:
    """Reading ahead changes neither the bytes nor their order, nor what the end looks like."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffered = BufferedSocket(ours)
        sent = bytes(range(256)) * 1000

        def send() -> None:
            theirs.sendall(sent)
            theirs.close()

        thread = threading.Thread(target=send)
        thread.start()
        found = b""
        while chunk := buffered.recv(1 + len(found) % 7000):
            found += chunk
        thread.join()
        assert sent == found
        assert 0 == buffered.pending()


def test_the_socket_behind_says_when_there_is_nothing() -> None:
    """paho asks for what is pending before it selects, and expects BlockingIOError for not yet."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        buffered = BufferedSocket(ours)
        with pytest.raises(BlockingIOError):
            buffered.recv(1)
        theirs.sendall(b"abc")
        assert (b"a", 2, b"bc", 0) == (
            buffered.recv(1),
            buffered.pending(),
            buffered.recv(9),
            buffered.pending(),
        )
        assert ours.fileno() == buffered.fileno()


# --- the end ----------------------------------------------------------------------------------


def test_what_the_broker_had_arrives_before_it_stops_to_listen(mosquitto: Mosquitto) -> None:
    """Confirmed ones, which the broker hands out a few at a time, and what comes later doesn't."""
    payloads = [str(each).encode() for each in range(5000)]
    with connected(mosquitto, "plant/x") as (client, inbox):
        publish(mosquitto, [("plant/x", payload) for payload in payloads])
        client.stop_listening()
        assert len(payloads) == inbox.size()
        publish(mosquitto, [("plant/x", b"late")])
        assert client.publish("plant/y", b"later", retain=True)
        wait_until(lambda: retained(mosquitto, "plant/y") == b"later")
        assert len(payloads) == inbox.size()


def test_it_stops_to_listen_at_once_where_it_hears_nobody() -> None:
    """Without a broker there is nothing to wait for."""
    with started(build(free_port(), Inbox(), "plant/x")) as client:
        begin = time.monotonic()
        client.stop_listening()
        assert time.monotonic() - begin < 0.2


# --- staying connected ------------------------------------------------------------------------


def test_it_subscribes_again_at_every_connect(mosquitto: Mosquitto) -> None:
    """A broker that was started anew knows nothing of the session before."""
    with connected(mosquitto, "plant/x", "plant/y") as (client, inbox):
        for connects in (2, 3):
            mosquitto.kill()
            wait_until(lambda: not client.connected)
            mosquitto.start()
            wait_until(lambda expected=connects: client.connects == expected)  # type: ignore[misc]
            publish_until_heard(mosquitto, "plant/y", inbox)
        assert client.alive


def publish_until_heard(broker: Mosquitto, topic: str, inbox: Inbox) -> None:
    """Connected is a moment before subscribed: repeat until one comes through."""
    heard: list[Received] = []
    deadline = time.monotonic() + WITHIN_S
    while not heard and time.monotonic() < deadline:
        publish(broker, [(topic, b"again")])
        try:
            heard.append(inbox._queue.get(timeout=0.1))
        except queue.Empty:
            continue
    assert [(topic, b"again", False)] == heard
    while not inbox._queue.empty():
        inbox._queue.get()


def test_a_broker_that_is_absent_is_waited_for(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread lives, one line is logged, and the connection is made when the broker comes."""
    mosquitto.stop()
    client = build(mosquitto.port, Inbox())
    with caplog.at_level(logging.WARNING), started(client):
        wait_until(lambda: bool(caplog.messages))
        assert (False, True) == (client.connected, client.alive)
        mosquitto.start()
        wait_until(lambda: client.connected)
    where = f"broker=127.0.0.1:{mosquitto.port}"
    assert [f"{where} can't be reached; trying again for ever"] == caplog.messages


def test_it_stops_soon_without_a_broker() -> None:
    """Also while it is waiting for the next try."""
    client = build(free_port(), Inbox())
    client.start()
    begin = time.monotonic()
    client.stop()
    assert time.monotonic() - begin < 3.0
    assert not client.alive


def test_a_document_of_an_outage_is_kept(mosquitto: Mosquitto) -> None:
    """With QoS 1 what is published while the broker is away reaches it afterwards."""
    with connected(mosquitto) as (client, _):
        mosquitto.stop()
        wait_until(lambda: not client.connected)
        assert client.publish("plant/alert", b"late", qos=1, retain=True)
        mosquitto.start()
        wait_until(lambda: client.connected)
        wait_until(lambda: retained(mosquitto, "plant/alert") == b"late")


def test_a_file_for_tls_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before anything connects."""
    named = Mqtt(tls=True, ca_file=tmp_path / "none.crt")
    with pytest.raises(ConfigError, match=r"mqtt.ca_file = .*none.crt: can't be read"):
        make(named, Inbox())
    (tmp_path / "none.crt").write_text("nothing")
    with pytest.raises(ConfigError, match=r"mqtt: ca_file = .*none.crt: "):
        make(named, Inbox())


# --- birth, will, refusals --------------------------------------------------------------------


def retained(broker: Mosquitto, topic: str) -> bytes:
    """What a newcomer is told on `topic`; b"" where nothing is retained."""
    with Subscriber(broker, topic, "plant/nothing") as newcomer:
        publish(broker, [("plant/nothing", b"")])
        return next(newcomer.heard()).payload


def test_birth_at_connect_and_offline_at_stop(mosquitto: Mosquitto) -> None:
    """Both retained, so that whoever comes later knows."""
    with Subscriber(mosquitto, STATUS) as watcher:
        with connected(mosquitto):
            assert BIRTH == next(watcher.heard()).payload
            wait_until(lambda: retained(mosquitto, STATUS) == BIRTH)
        assert WILL == next(watcher.heard()).payload
    assert WILL == retained(mosquitto, STATUS)


def test_birth_again_after_a_broker_that_forgot(mosquitto: Mosquitto) -> None:
    """A broker without persistence has lost the retained status too."""
    with connected(mosquitto) as (client, _):
        mosquitto.kill()
        wait_until(lambda: not client.connected)
        mosquitto.start()
        wait_until(lambda: client.connected)
        wait_until(lambda: retained(mosquitto, STATUS) == BIRTH)


def test_the_will_speaks_for_a_connection_that_broke(mosquitto: Mosquitto) -> None:
    """Without a goodbye the broker itself says offline, and retains it."""
    with Subscriber(mosquitto, STATUS) as watcher, connected(mosquitto) as (client, _):
        watcher.wait_for(lambda heard: heard.payload == BIRTH)
        link = paho_client(client).socket()
        assert isinstance(link, BufferedSocket)
        link.shutdown(socket.SHUT_RDWR)
        watcher.wait_for(lambda heard: heard.payload == WILL)
        watcher.wait_for(lambda heard: heard.payload == BIRTH)


def test_it_is_subscribed_once_the_broker_says_so() -> None:
    """Not when it has asked: a broker may be slow to answer, and what comes before is lost."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        client = build(broker.getsockname()[1], Inbox(), "a/#")
        with started(client):
            connection, _ = broker.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"\x20\x02\x00\x00")
                wait_until(lambda: client.connected)
                asked = _packet_of(connection, 0x82)
                assert (True, False) == (client.connected, client.subscribed)
                connection.sendall(b"\x90\x03" + asked[2:4] + b"\x01")
                wait_until(lambda: client.subscribed)
            wait_until(lambda: not client.connected)
            assert not client.subscribed


def _packet_of(connection: socket.socket, first: int) -> bytes:
    """The first short packet with that first byte, of those that come."""
    heard = b""
    while True:
        heard += connection.recv(1024)
        while len(heard) > 1 and len(heard) >= 2 + heard[1]:
            packet, heard = heard[: 2 + heard[1]], heard[2 + heard[1] :]
            if packet[0] == first:
                return packet


def test_an_answer_comes_behind_what_the_broker_had(mosquitto: Mosquitto) -> None:
    """Once for each question, one at a time; what a lost connection leaves open is asked anew."""
    with connected(mosquitto, "a/b") as (client, inbox):
        assert client.echo() is None
        pour(mosquitto, (("a/b", b"%d" % at) for at in range(1000)))
        client.ask()
        found: list[Echo | None] = []

        def answered() -> bool:
            client.ask()
            found.append(client.echo())
            return found[-1] is not None

        wait_until(answered)
        assert 1000 == inbox.size()
        assert found[-1] is not None
        assert found[-1].asked_s < found[-1].answered_s
        assert client.echo() is None
        mosquitto.kill()
        client.ask()
        wait_until(lambda: not client.connected)
        mosquitto.start()
        wait_until(lambda: client.connected)
        wait_until(answered)


def test_a_refused_subscription_is_told_by_its_topic(
    start_mosquitto: Callable[[str], Mosquitto], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Connected and deaf is the worst state: the log names the topic, and only that one."""
    broker = start_mosquitto(only_allows(tmp_path, "open/#"))
    inbox = Inbox()
    with caplog.at_level(logging.ERROR), started(build(broker.port, inbox, "shut/#", "open/#")):
        wait_until(lambda: bool(caplog.messages))
        publish_until_heard(broker, "open/x", inbox)
    assert ["topic=shut/# subscription refused by the broker: Unspecified error"] == caplog.messages


def test_a_refused_alert_is_told(
    start_mosquitto: Callable[[str], Mosquitto], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a connection, though its delivery is over: with MQTT 5 a broker says why."""
    rules = tmp_path / "rules"
    rules.write_text("topic read #\ntopic write anomalyd/main/status\n")
    rules.chmod(0o644)
    broker = start_mosquitto(f"allow_anonymous true\nacl_file {rules}\n")
    settings = Mqtt(port=broker.port, version="5", clean_session=True)
    with caplog.at_level(logging.ERROR), started(make(settings, Inbox())) as client:
        wait_until(lambda: client.connected)
        assert "" == client.refused_publish
        sent = [client.send("anomalyd/main/alert/x", b"{}", True) for _ in range(2)]
        wait_until(lambda: all(each is not None and each.is_published() for each in sent))
        wait_until(lambda: bool(client.refused_publish))
    assert "Not authorized" == client.refused_publish
    told = "topic=anomalyd/main/# publishing refused by the broker: Not authorized; "
    assert [f"{told}alerts reach nobody"] == caplog.messages


def only_allows(directory: Path, topic: str) -> str:
    """mosquitto's configuration where everybody may publish, and subscribe to `topic` alone.

    Its acl_file never refuses a subscription, it only delivers nothing; the plugin refuses.
    """
    plugins = sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))
    if not plugins:
        require("mosquitto_dynamic_security.so", "mosquitto, as Debian has it")
    allowed = {"acltype": "subscribePattern", "topic": topic, "allow": True}
    rules = {
        "defaultACLAccess": {
            "publishClientSend": True,
            "publishClientReceive": True,
            "subscribe": False,
            "unsubscribe": True,
        },
        "roles": [{"rolename": "reader", "acls": [allowed]}],
        "groups": [{"groupname": "everybody", "roles": [{"rolename": "reader"}]}],
        "anonymousGroup": "everybody",
    }
    config = directory / "rules.json"
    config.write_text(json.dumps(rules))
    return f"allow_anonymous true\nplugin {plugins[0]}\nplugin_opt_config_file {config}\n"


def test_a_refused_login_is_told_once_and_tried_again(
    start_mosquitto: Callable[[str], Mosquitto], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password may be put right on the broker: keep trying, and don't fill the log."""
    users = tmp_path / "users"
    users.write_text("")
    users.chmod(0o600)
    broker = start_mosquitto(f"allow_anonymous false\npassword_file {users}\n")
    client = build(broker.port, Inbox(), password="s3cret")
    tries = []
    with caplog.at_level(logging.DEBUG), started(client):
        paho_client(client).on_pre_connect = lambda *about: tries.append(about)
        wait_until(lambda: len(tries) > 1)
        assert (False, True) == (client.connected, client.alive)
    told = [line for line in caplog.messages if "refused the connection" in line]
    assert [f"broker=127.0.0.1:{broker.port} refused the connection: Not authorized"] == told
    assert "s3cret" not in caplog.text
