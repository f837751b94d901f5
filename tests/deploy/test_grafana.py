"""What Grafana is given: built from code, and every query finds series in a real Prometheus that
scrapes a real daemon under the demo's plant. No Grafana runs here."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomalyd.demo.child import Child
from tests.broker.daemon import WITHIN_S, Daemon, publish
from tests.deploy.monitoring import Prometheus
from tests.deploy.rules import ROOT, alerts, without_comparisons
from tests.deploy.test_rules import unknown
from tests.programs import Mosquitto

GRAFANA = ROOT / "deploy" / "grafana"
RULES = GRAFANA / "provisioning" / "alerting" / "rules.yaml"
PLANT = """
[[streams]]
topic = "plant/{line}/{machine}/{sensor}"
value = "value"
time = "ts"
group_by = ["line", "machine"]
[channels]
warmup_readings = 20
"""
# Empty where nothing is wrong with the daemon: it has a series for a condition while that holds.
EMPTY_WHEN_ALL_IS_WELL = ("anomalyd_degraded",)


def test_what_is_committed_is_what_the_code_builds(tmp_path: Path) -> None:
    subprocess.run([sys.executable, GRAFANA / "build.py", tmp_path], check=True)
    built = {path.relative_to(tmp_path): path.read_text() for path in _files(tmp_path)}
    committed = {path.relative_to(GRAFANA): path.read_text() for path in _files(GRAFANA)}
    assert built == committed, "run: python deploy/grafana/build.py"


def test_every_query_names_what_exists() -> None:
    for expression in {*_queries(), *_conditions()}:
        assert set() == unknown(_substituted(expression)), expression


def test_a_dashboard_with_a_misspelt_metric_would_be_found(tmp_path: Path) -> None:
    board = (GRAFANA / "dashboards" / "plant.json").read_text()
    (tmp_path / "plant.json").write_text(
        board.replace("anomalyd_channels_silent", "anomalyd_silnt")
    )
    found = [unknown(_substituted(expression)) for expression in _queries(tmp_path)]
    assert {"anomalyd_silnt"} == set().union(*found)


def test_every_rule_of_prometheus_is_one_of_grafana_too() -> None:
    assert sorted(alerts()) == sorted(rule["title"] for rule in _rules())


def test_a_rule_is_in_the_form_that_files_have() -> None:
    keys = {"annotations", "condition", "data", "execErrState", "for", "keepFiringFor", "labels",
            "noDataState", "title", "uid"}  # fmt: skip
    assert all(keys == set(rule) for rule in _rules())


def test_every_receiver_that_is_named_exists() -> None:
    folder = RULES.parent
    points = yaml.safe_load((folder / "contact-points.yaml").read_text())["contactPoints"]
    (policy,) = yaml.safe_load((folder / "policies.yaml").read_text())["policies"]
    named = {policy["receiver"], *(route["receiver"] for route in policy["routes"])}
    assert {point["name"] for point in points} == named


def test_every_query_uses_the_source_that_is_provisioned() -> None:
    text = (GRAFANA / "provisioning" / "datasources" / "anomalyd.yaml").read_text()
    (source,) = yaml.safe_load(text)["datasources"]
    uids = {node["uid"] for board in _boards() for node in _nodes(board) if "type" in node and
            node["type"] == "prometheus" and "uid" in node}  # fmt: skip
    assert {source["uid"]} == uids


def test_every_query_finds_series_in_a_real_prometheus(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(tmp_path, mosquitto.port, PLANT))
        daemon.wait_ready()
        prometheus = stack.enter_context(Prometheus(tmp_path, [daemon.http_port]))
        prometheus.wait_ready()
        # A reason has a series from the first reading that is refused for it.
        publish(mosquitto, [("plant/line1/pump1/flow", b"no JSON")])
        stack.enter_context(_plant(mosquitto, tmp_path))
        needed = {
            expression
            for expression in map(
                without_comparisons, map(_substituted, {*_queries(), *_conditions()})
            )
            if not any(name in expression for name in EMPTY_WHEN_ALL_IS_WELL)
        }
        missing = set(needed)

        def all_found() -> bool:
            missing.difference_update([each for each in missing if prometheus.query(each)])
            return not missing

        try:
            prometheus.wait_until(all_found, 2 * WITHIN_S)
        except Exception as error:
            raise AssertionError(f"without series: {sorted(missing)}") from error
        assert not prometheus.query("anomalyd_scor")
        for expression in {*_queries(), *_conditions()}:
            assert prometheus.query(_substituted(expression)) is not None, expression


def _plant(broker: Mosquitto, directory: Path) -> Child:
    where = f"{broker.host}:{broker.port}"
    command = [sys.executable, "-m", "anomalyd", "simulate", "--broker", where, "--rate", "20"]
    return Child("simulate", command, directory / "simulate.log")


def _files(folder: Path) -> Iterator[Path]:
    return (each for each in folder.rglob("*") if each.suffix in {".json", ".yaml"})


def _boards(folder: Path = GRAFANA / "dashboards") -> list[Any]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(each)


def _queries(folder: Path = GRAFANA / "dashboards") -> Iterator[str]:
    """Of every panel, annotation and variable."""
    for node in (node for board in _boards(folder) for node in _nodes(board)):
        if "expr" in node:
            yield node["expr"]
        if node.get("type") == "query" and "query" in node:
            yield re.sub(r"label_values\((.*), (\w+)\)", r"count by (\2) (\1)", node["query"])


def _rules() -> list[Any]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def _conditions() -> Iterator[str]:
    """The queries of the alert rules."""
    return (rule["data"][0]["model"]["expr"] for rule in _rules())


def _substituted(expression: str) -> str:
    values = {"$__rate_interval": "1m", "$instance": ".*", "$channel": "line1/pump1/flow"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize(
    ("expression", "always"),
    [("up == 0", "up"), ("a > 0 and on (job) b == 1", "a and on (job) b"), ("x < 0.05", "x")],
)
def test_a_comparison_is_taken_away(expression: str, always: str) -> None:
    assert always == without_comparisons(expression)
