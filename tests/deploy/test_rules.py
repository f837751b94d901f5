"""Every alert rule is complete, has its page, fires when it should and only then."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from anomalyd.adapters.metrics import Collector
from anomalyd.settings import Metrics
from tests.adapters.test_metrics import SNAPSHOT
from tests.deploy.rules import PROMETHEUS, ROOT, alerts, labels_in, metrics_in, recorded, rules
from tests.programs import require

CASES = Path(__file__).with_name("rules.yml")
RUNBOOKS = ROOT / "deploy" / "runbooks"
# What Prometheus adds to a scrape.
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance", "alertname", "alertstate"}


def test_promtool_accepts_configuration_and_rules() -> None:
    _promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_rule_fires_when_it_should_and_only_then() -> None:
    _promtool("test", "rules", str(CASES))


def test_every_rule_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [case["name"] for case in yaml.safe_load(CASES.read_text())["tests"]]
    expected = [f"{name} {what}" for name in alerts() for what in ("fires", "does not fire")]
    assert sorted(expected) == sorted(cases)
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        (found,) = case["promql_expr_test"]
        name, _, what = case["name"].partition(" ")
        assert f'alertname="{name}"' in found["expr"]
        assert (what == "fires") == bool(found["exp_samples"])


def test_a_rule_that_never_fires_would_be_found(tmp_path: Path) -> None:
    for file in PROMETHEUS.glob("*.yml"):
        text = file.read_text().replace('"retrain"}) > 0', '"retrain"}) > 1')
        (tmp_path / file.name).write_text(text)
    cases = CASES.read_text().replace("../../deploy/prometheus/", f"{tmp_path}/")
    (tmp_path / "cases.yml").write_text(cases)
    promtool = require("promtool", "prometheus")
    command = [promtool, "test", "rules", str(tmp_path / "cases.yml")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert 0 != found.returncode
    assert "AnomalydDegraded" in found.stderr + found.stdout


@pytest.mark.parametrize("name", alerts())
def test_a_rule_says_all_that_is_needed(name: str) -> None:
    rule = alerts()[name]
    assert {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"} == set(rule)
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["labels"]["about"] in {"plant", "daemon"}
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])


def test_every_rule_has_a_page_and_every_page_a_rule() -> None:
    urls = {rule["annotations"]["runbook_url"] for rule in alerts().values()}
    pages = {str(page.relative_to(ROOT)) for page in RUNBOOKS.glob("*.md")}
    assert {f"deploy/runbooks/{name}.md" for name in alerts()} == urls == pages


def test_every_page_says_what_it_means_how_to_confirm_it_and_what_to_do() -> None:
    for page in RUNBOOKS.glob("*.md"):
        headings = re.findall(r"^#+ (.*)", page.read_text(), flags=re.M)
        assert [page.stem, "How to confirm it", "What to do"] == headings
        assert "```" in page.read_text()


def test_every_query_of_a_page_names_what_exists() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for block in re.findall(r"```promql\n(.*?)```", page.read_text(), flags=re.S):
            assert set() == unknown(block), page


def test_every_rule_names_what_exists() -> None:
    for rule in rules():
        assert set() == unknown(rule["expr"]), rule


def test_a_misspelt_metric_or_label_would_be_found() -> None:
    assert {"anomalyd_scor"} == unknown("max(anomalyd_scor)")
    assert {"sensr"} == unknown('max by (channel) (anomalyd_score{sensr="x"})')


def unknown(expression: str) -> set[str]:
    """Metrics and labels that neither /metrics nor a recording rule has."""
    text = b"".join(Collector(lambda: SNAPSHOT, Metrics()).pieces()).decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    metrics = {sample.name for sample in samples} | recorded() | OF_PROMETHEUS
    labels = {label for sample in samples for label in sample.labels} | LABELS_OF_PROMETHEUS
    return (metrics_in(expression) - metrics) | (set(labels_in(expression)) - labels)


def _promtool(*arguments: str) -> None:
    promtool = require("promtool", "prometheus")
    found = subprocess.run([promtool, *arguments], capture_output=True, text=True)
    assert 0 == found.returncode, found.stdout + found.stderr
