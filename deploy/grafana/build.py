"""Writes the dashboards and what Grafana is provisioned with: `python deploy/grafana/build.py`.

Run by whoever changes a panel, and by a test that compares with what is committed. The alert rules
are those of deploy/prometheus, one for one: a rule has one source. Needs the extra `dev`.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

with warnings.catch_warnings():
    # The SDK prefers a second schema of dashboards, which only the newest Grafana reads.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import (
        alerting,
        dashboard,
        expr,
        prometheus,
        stat,
        timeseries,
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.alerting import RelativeTimeRange
    from grafana_foundation_sdk.models.common import DataSourceRef
    from grafana_foundation_sdk.models.dashboard import (
        DynamicConfigValue,
        VariableOption,
        VariableRefresh,
    )

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus"
SOURCE = "anomalyd-prometheus"
FOLDER = "anomalyd"
OF_INSTANCE = '{job="anomalyd",instance=~"$instance"}'
OF_CHANNEL = '{job="anomalyd",instance=~"$instance",channel="$channel"}'

Panel = tuple[str, str, str, Mapping[str, str]]
"""kind, title, unit, {legend: expression}"""

PLANT: tuple[Panel, ...] = (
    ("stat", "Open alerts", "short", {"{{severity}}": f"sum by (severity) (anomalyd_alerts_active{OF_INSTANCE})"}),
    ("stat", "Channels", "short", {"{{state}}": f"sum by (state) (anomalyd_channels{OF_INSTANCE})"}),
    ("stat", "Silent sensors", "short", {"silent": f"sum(anomalyd_channels_silent{OF_INSTANCE})"}),
    ("stat", "Alarms, of the budget", "percentunit", {"{{instance}}": f"anomalyd:alarm_rate_to_budget:ratio{OF_INSTANCE}"}),
    ("lines", "Highest scores (1 is the threshold)", "short", {"{{channel}}": f"topk(10, anomalyd_score{OF_INSTANCE})"}),
    ("lines", "Alerts raised an hour, by kind", "short", {"{{kind}}": 'sum by (kind) (increase(anomalyd_alerts_total{job="anomalyd",instance=~"$instance",transition="raised"}[1h]))'}),
    ("lines", "Alarms a week, and their budget", "short", {
        "alarms": f"sum(anomalyd_alarm_rate_per_week{OF_INSTANCE})",
        "budget": f"sum(anomalyd_alarm_budget_per_week{OF_INSTANCE})",
    }),
)  # fmt: skip
CHANNEL: tuple[Panel, ...] = (
    ("band", "Value, expected, band", "short", {
        name: f"anomalyd_{name}{OF_CHANNEL}" for name in ("lower", "upper", "expected", "value")
    }),
    ("lines", "Score (1 is the threshold)", "short", {"score": f"anomalyd_score{OF_CHANNEL}"}),
)  # fmt: skip
DAEMON: tuple[Panel, ...] = (
    ("stat", "Up", "bool_yes_no", {"{{instance}}": f"up{OF_INSTANCE}"}),
    ("stat", "Broker", "bool_yes_no", {"{{instance}}": f"anomalyd_mqtt_connected{OF_INSTANCE}"}),
    ("stat", "Version", "short", {"{{version}}": f"anomalyd_build_info{OF_INSTANCE}"}),
    ("stat", "Degraded", "short", {"{{condition}}": f"sum by (condition) (anomalyd_degraded{OF_INSTANCE})"}),
    ("lines", "Messages and readings a second", "short", {
        "received": f"sum(rate(anomalyd_messages_received_total{OF_INSTANCE}[$__rate_interval]))",
        "scored": f"sum(rate(anomalyd_readings_scored_total{OF_INSTANCE}[$__rate_interval]))",
    }),
    ("lines", "Arrival to verdict", "s", {
        f"p{share}": f"histogram_quantile(0.{share}, sum by (le) (rate(anomalyd_scoring_latency_seconds_bucket{OF_INSTANCE}[$__rate_interval])))"
        for share in (50, 99)
    }),
    ("lines", "Refused a second, by reason", "short", {"{{reason}}": f"sum by (reason) (rate(anomalyd_rejected_total{OF_INSTANCE}[$__rate_interval]))"}),
    ("lines", "Inbox, of its capacity", "percentunit", {"{{instance}}": f"anomalyd:inbox:ratio{OF_INSTANCE}"}),
    ("lines", "Processor", "percentunit", {"{{instance}}": f"rate(process_cpu_seconds_total{OF_INSTANCE}[$__rate_interval])"}),
    ("lines", "Memory, and what it may use", "bytes", {
        "used": f"process_resident_memory_bytes{OF_INSTANCE}",
        "limit": f"anomalyd_memory_limit_bytes{OF_INSTANCE}",
    }),
    ("lines", "Since a retraining came to a verdict", "s", {"{{instance}}": f"time() - anomalyd_model_judged_timestamp_seconds{OF_INSTANCE}"}),
    ("lines", "Disk free, of its size", "percentunit", {"{{instance}}": f"anomalyd:disk_free:ratio{OF_INSTANCE}"}),
)  # fmt: skip


def files() -> Iterator[tuple[str, Any]]:
    """(path, content) of everything that is committed."""
    yield "dashboards/plant.json", _board("plant", "anomalyd: the plant", PLANT)
    yield (
        "dashboards/channel.json",
        _board("channel", "anomalyd: one channel", CHANNEL, _of_channel),
    )
    yield "dashboards/daemon.json", _board("daemon", "anomalyd: the daemon", DAEMON)
    yield "provisioning/datasources/anomalyd.yaml", _datasources()
    yield "provisioning/dashboards/anomalyd.yaml", _providers()
    yield "provisioning/alerting/rules.yaml", {"apiVersion": 1, "groups": list(_groups())}
    yield "provisioning/alerting/contact-points.yaml", _contact_points()
    yield "provisioning/alerting/policies.yaml", {"apiVersion": 1, "policies": [_policy()]}


# --- dashboards -----------------------------------------------------------------------------


def _board(
    uid: str,
    title: str,
    panels: tuple[Panel, ...],
    more: Callable[[dashboard.Dashboard], object] = lambda board: None,
) -> Any:
    board = dashboard.Dashboard(title).uid(f"anomalyd-{uid}").tags(["anomalyd"]).refresh("10s")
    board.time("now-1h", "now").timezone("browser").with_variable(
        _choice("instance", "up", "instance").include_all(True).all_value(".*").multi(True)
        .current(VariableOption(text="All", value="$__all"))
    )  # fmt: skip
    more(board)
    for kind, name, unit, queries in panels:
        board.with_panel(_panel(kind, name, unit, queries))
    return board.build()


def _choice(name: str, metric: str, label: str) -> dashboard.QueryVariable:
    query = f'label_values({metric}{{job="anomalyd"}}, {label})'
    variable = dashboard.QueryVariable(name).query(query).datasource(_source())
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def _of_channel(board: dashboard.Dashboard) -> None:
    board.with_variable(_choice("channel", "anomalyd_score", "channel"))
    board.annotation(
        dashboard.AnnotationQuery()
        .name("At or beyond the threshold")
        .datasource(_source())
        .enable(True)
        .icon_color("red")
        .expr(f"anomalyd_score{OF_CHANNEL} >= 1")
        .title_format("score {{channel}}")
    )


def _panel(kind: str, title: str, unit: str, queries: Mapping[str, str]) -> Any:
    panel: Any = stat.Panel() if kind == "stat" else timeseries.Panel()
    panel.title(title).unit(unit).datasource(_source())
    panel.height(5 if kind == "stat" else 10).span({"stat": 6, "lines": 12, "band": 24}[kind])
    for place, (legend, expression) in enumerate(queries.items()):
        panel.with_target(_query(expression, chr(ord("A") + place)).legend_format(legend))
    if kind == "band":
        shade = [_property("custom.fillBelowTo", "lower"), _property("custom.fillOpacity", 15)]
        panel.override_by_name("upper", [*shade, _property("custom.lineWidth", 0)])
        panel.override_by_name("lower", [_property("custom.lineWidth", 0)])
    return panel


def _property(name: str, value: object) -> DynamicConfigValue:
    return DynamicConfigValue(id_val=name, value=value)


def _query(expression: str, ref_id: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(ref_id).datasource(_source())


def _source() -> DataSourceRef:
    return DataSourceRef(type_val="prometheus", uid=SOURCE)


# --- provisioning ---------------------------------------------------------------------------


def _datasources() -> Any:
    source = {
        "name": "anomalyd",
        "uid": SOURCE,
        "type": "prometheus",
        "access": "proxy",
        "url": "http://127.0.0.1:9090",
        "isDefault": True,
        "jsonData": {"timeInterval": "15s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _providers() -> Any:
    options = {"path": "/etc/grafana/dashboards/anomalyd"}
    provider = {"name": "anomalyd", "folder": FOLDER, "type": "file", "options": options}
    return {"apiVersion": 1, "providers": [provider]}


def _groups() -> Iterator[Any]:
    for name in ("plant", "daemon"):
        (group,) = yaml.safe_load((RULES / f"{name}.yml").read_text())["groups"]
        rules = [_provisioned(_rule(rule)) for rule in group["rules"]]
        yield {
            "orgId": 1,
            "name": group["name"],
            "folder": FOLDER,
            "interval": "15s",
            "rules": rules,
        }


def _rule(rule: Mapping[str, Any]) -> alerting.Rule:
    """The comparison is in the query, so whatever it finds fires; its value may be 0."""
    found = alerting.Query("A").datasource_uid(SOURCE).model(_query(rule["expr"], "A").instant())
    always = expr.TypeMath().expression("$A * 0 + 1").ref_id("B")
    found.relative_time_range(RelativeTimeRange(from_val=600, to=0))
    return (
        alerting.Rule(rule["alert"])
        .uid(rule["alert"].lower())
        .condition("B")
        .queries([found, alerting.Query("B").datasource_uid("__expr__").model(always)])
        .for_val(rule["for"])
        .keep_firing_for(rule["keep_firing_for"])
        .labels(rule["labels"])
        .annotations(
            {k: v.replace("$value", "$values.A.Value") for k, v in rule["annotations"].items()}
        )
        .no_data_state("OK")
        .exec_err_state("Error")
    )


def _provisioned(rule: alerting.Rule) -> Any:
    """As a file has it, where Grafana's HTTP interface, which the SDK writes for, differs: the
    group says where it belongs, and an unknown `keep_firing_for` would be dropped in silence."""
    plain = json.loads(json.dumps(rule.build(), cls=JSONEncoder))
    plain["keepFiringFor"] = plain.pop("keep_firing_for")
    return {k: v for k, v in plain.items() if k not in {"folderUID", "orgID", "ruleGroup"}}


def _contact_points() -> Any:
    def point(name: str) -> Any:
        settings = {"url": f"http://127.0.0.1:9095/{name}", "httpMethod": "POST"}
        receiver = {"uid": f"anomalyd-{name}", "type": "webhook", "settings": settings}
        return {"orgId": 1, "name": f"anomalyd-{name}", "receivers": [receiver]}

    return {"apiVersion": 1, "contactPoints": [point("plant"), point("daemon")]}


def _policy() -> Any:
    plant = alerting.NotificationPolicy().receiver("anomalyd-plant")
    plant.object_matchers([["about", "=", "plant"]])
    policy = alerting.NotificationPolicy().receiver("anomalyd-daemon").routes([plant])
    policy.group_by(["alertname", "instance"]).group_wait("10s").group_interval("2m")
    return {"orgId": 1} | json.loads(
        json.dumps(policy.repeat_interval("12h").build(), cls=JSONEncoder)
    )


def main(folder: Path) -> None:
    """Write everything into `folder`."""
    for path, content in files():
        plain = json.loads(json.dumps(content, cls=JSONEncoder))
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".json":
            file.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
        else:
            file.write_text(yaml.safe_dump(plain, width=100))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
