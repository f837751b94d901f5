"""Who hears of an alert, and what a daemon that is down keeps silent."""

import subprocess

import pytest
import yaml

from tests.deploy.rules import ROOT, alerts
from tests.programs import require

CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"


def test_amtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in _amtool("check-config", str(CONFIG))


@pytest.mark.parametrize("name", alerts())
def test_an_alert_reaches_those_whom_it_is_about(name: str) -> None:
    labels = alerts()[name]["labels"]
    expected = labels["about"] + ("-critical" if labels["severity"] == "critical" else "")
    given = [f"{label}={value}" for label, value in {"alertname": name, **labels}.items()]
    routes = ("config", "routes", "test", f"--config.file={CONFIG}")
    assert expected == _amtool(*routes, *given).strip()


def test_what_is_inhibited_are_alerts_that_exist() -> None:
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            names = matcher.partition('"')[2].rstrip('"').split("|")
            assert set(names) <= {*alerts(), "Anomalyd.+"}, matcher


def _amtool(*arguments: str) -> str:
    amtool = require("amtool", "prometheus-alertmanager")
    found = subprocess.run([amtool, *arguments], capture_output=True, text=True)
    assert 0 == found.returncode, found.stdout + found.stderr
    return found.stdout
