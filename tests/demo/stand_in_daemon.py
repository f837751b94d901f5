"""A stand-in for `anomalyd run` that speaks its wire contract, for the tests of the demo.

It cheats: it knows what the healthy plant says, and calls what differs an alert. Run as a program
with the path of the demo's configuration; STAND_IN=dies makes it fail in the middle, STAND_IN=deaf
makes it raise nothing.
"""

import json
import os
import signal
import sys
import tomllib
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.demo.plant import Plant

STEPS = 2000
DIES_AFTER = 2000
READINGS_SCORED = "anomalyd_readings_scored_total"


class StandIn:
    def __init__(self, manner: str) -> None:
        plant = Plant(1)
        self.manner = manner
        self.scored = 0
        self.firing: set[str] = set()
        self.first_time: float | None = None
        self.healthy = dict(zip(plant.names, plant.run(STEPS).T.tolist(), strict=True))
        self.noise = dict(zip(plant.names, plant.noise.tolist(), strict=True))

    def on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        channel = message.topic.removeprefix("plant/")
        reading = json.loads(message.payload)
        at, value = reading["ts"], reading["value"]
        self.first_time = self.first_time or at
        expected = self.healthy[channel][round(at - self.first_time)]
        band = 6 * self.noise[channel]
        score = abs(value - expected) / band
        self.scored += 1
        if self.manner == "dies" and self.scored > DIES_AFTER:
            print("out of luck", file=sys.stderr, flush=True)
            os._exit(3)
        state = "firing" if score > 1 else "normal"
        verdict = {
            "time": at,
            "value": value,
            "lower": expected - band,
            "upper": expected + band,
            "score": score,
            "state": state,
        }
        client.publish(f"anomalyd/demo/score/{channel}", json.dumps(verdict))
        if score > 1 and channel not in self.firing and self.manner != "deaf":
            self.firing.add(channel)
            event = {
                "channel": channel,
                "transition": "raised",
                "kind": "residual",
                "updated_at": datetime.fromtimestamp(at, UTC).isoformat(),
                "reason": f"{value:.1f}, expected {expected:.1f}",
                "contributors": [],
            }
            client.publish("anomalyd/demo/event", json.dumps(event), qos=1)


def page(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            text = f'{READINGS_SCORED} {stand_in.scored}\nanomalyd_channels{{state="normal"}} 24\n'
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Page


def main() -> None:
    config = tomllib.loads(Path(sys.argv[1]).read_text())
    stand_in = StandIn(os.environ.get("STAND_IN", ""))
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = stand_in.on_message
    client.connect(config["mqtt"]["host"], config["mqtt"]["port"])
    client.subscribe("plant/#")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("127.0.0.1", config["http"]["port"]), page(stand_in))
    Thread(target=server.serve_forever, daemon=True).start()
    client.loop_forever()


if __name__ == "__main__":
    main()
