"""No rule fires while all is well; the long form is `python -m tests.deploy.hour`."""

from pathlib import Path

from tests.deploy.hour import watch
from tests.deploy.rules import alerts
from tests.programs import require

SECONDS = 40.0


def test_no_rule_fires_on_shipped_defaults_while_all_is_well(tmp_path: Path) -> None:
    require("prometheus", "prometheus")
    found = {each.rule: each for each in watch(tmp_path, SECONDS)}
    assert set(alerts()) == set(found)
    assert [] == [str(each) for each in found.values() if each.state == "firing"]
    # It was scraped, and the rules were evaluated.
    assert 1.0 == found["AnomalydDown"].least
    assert 1.0 == found["AnomalydDisconnected"].most
