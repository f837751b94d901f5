"""A real Prometheus and a real Alertmanager, with the shipped files made fast, and a webhook."""

import http.server
import json
import queue
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from anomalyd.demo.child import Child
from anomalyd.demo.listener import fetch
from tests.deploy.rules import PROMETHEUS, ROOT, RULE_FILES
from tests.programs import free_port, require

HOST = "127.0.0.1"
UP_WITHIN_S = 20.0
_ROUTES = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"


class Prometheus(Child):
    """The shipped configuration; `fast`: a second for every interval, `for`, `keep_firing_for`."""

    def __init__(
        self, directory: Path, targets: list[int], alertmanager: int = 9, fast: bool = True
    ) -> None:
        self.port = free_port()
        for file in RULE_FILES:
            text = file.read_text()
            if fast:
                text = re.sub(r"((?:keep_firing_)?for): \w+", r"\1: 1s", text)
            (directory / file.name).write_text(text)
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        if fast:
            every = ("scrape_interval", "scrape_timeout", "evaluation_interval")
            config["global"] = dict.fromkeys(every, "1s")
        config["scrape_configs"][0]["static_configs"][0]["targets"] = _at(targets)
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = _at([alertmanager])
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            require("prometheus", "prometheus"),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address={HOST}:{self.port}",
        ]
        super().__init__("prometheus", command, directory / "prometheus.log")

    def wait_ready(self) -> None:
        self.wait_until(lambda: fetch(HOST, self.port, "/-/ready") is not None, UP_WITHIN_S)

    def query(self, expression: str) -> list[Any] | None:
        """The series that an instant query finds; None where it isn't a query."""
        asked = urllib.parse.quote(expression)
        page = fetch(HOST, self.port, f"/api/v1/query?query={asked}")
        if page is None:
            return None
        found = json.loads(page)["data"]
        return found["result"] if found["resultType"] == "vector" else [found["result"]]


class Alertmanager(Child):
    """The shipped routes, without patience, to a webhook on `port`."""

    def __init__(self, directory: Path, webhook: int) -> None:
        self.port = free_port()
        text = _ROUTES.read_text().replace(f"{HOST}:9095", f"{HOST}:{webhook}")
        text = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", text)
        (directory / "alertmanager.yml").write_text(text)
        command = [
            require("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={directory / 'alertmanager.yml'}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--cluster.listen-address=",
        ]
        super().__init__("alertmanager", command, directory / "alertmanager.log")

    def wait_ready(self) -> None:
        self.wait_until(lambda: fetch(HOST, self.port, "/-/ready") is not None, UP_WITHIN_S)


class Webhook:
    """What Alertmanager sends: (path, status, name of the alert)."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[str, str, str]] = queue.SimpleQueue()
        self.port = 0

    def wait_for(self, path: str, status: str, alert: str, within_s: float) -> None:
        """Return once it was told so; queue.Empty when nothing more is told for so long."""
        while (path, status, alert) != self.calls.get(timeout=within_s):
            pass


@contextmanager
def listening() -> Iterator[Webhook]:
    """A webhook on a thread of its own."""
    webhook = Webhook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                webhook.calls.put((self.path, alert["status"], alert["labels"]["alertname"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        webhook.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="webhook")
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()


def _at(ports: list[int]) -> list[str]:
    return [f"{HOST}:{port}" for port in ports]
