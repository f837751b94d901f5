"""Writes the sample configuration and the reference from the settings: `python -m
tests.sample_config`.

Every key is in it with its meaning and default, commented out, so that a default which changes in
a later version reaches those who never set it. `# ` begins a sentence, `#` without a blank a key.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from anomalyd.settings import Settings, Stream, allowed, in_flight

SAMPLE = Path(__file__).parent.parent / "deploy" / "anomalyd.toml"
REFERENCE = SAMPLE.with_name("CONFIGURATION.md")

HEAD = """\
# anomalyd's configuration: every key with its default. Take the # away from a key to set it.
# The environment goes before this file: ANOMALYD_MQTT__HOST=broker sets host in [mqtt].
# `anomalyd check --config FILE` tells what holds, and what is misspelt.
"""

# Keys that are not set by default, and an example of each.
EXAMPLES: dict[str, Any] = {
    "mqtt.ca_file": "/etc/anomalyd/ca.crt",
    "mqtt.cert_file": "/etc/anomalyd/mqtt.crt",
    "mqtt.key_file": "/etc/anomalyd/mqtt.key",
    "mqtt.password_file": "/etc/anomalyd/mqtt_password",
    "mqtt.clean_session": False,
    "http.token_file": "/etc/anomalyd/http_token",
    "http.certificate_file": "/etc/anomalyd/http.crt",
    "http.key_file": "/etc/anomalyd/http.key",
}

STREAM: dict[str, Any] = {
    "topic": "plant/{line}/{machine}/{sensor}",
    "value": "value",
    "time": "ts",
    "format": "auto",
    "step": "dt",
    "map": {"OPEN": 1, "CLOSED": 0},
    "booleans": True,
    "quality": "q",
    "good": [192, "GOOD"],
    "interval_s": 1.0,
    "group_by": ["line", "machine"],
    "inputs": ["setpoint"],
    "model": "pump.safetensors",
    "channel": "{machine}.{sensor}",
    "unit": "bar",
    "low": 0.5,
    "high": 8.0,
    "physical": [-40.0, 150.0],
    "max_rate": 20.0,
    "retained": "seed",
    "reorder_s": 2.0,
    "report_by_exception": True,
    "forecast_model": "limits.safetensors",
}


def sample() -> str:
    """The text of deploy/anomalyd.toml."""
    return "\n".join([HEAD, *_keys(Settings(), "")]) + "\n"


REFERENCE_HEAD = """\
# The configuration, key by key

Written from `anomalyd/settings.py` by `python -m tests.sample_config`; a test holds them equal.

The file is TOML: [anomalyd.toml](anomalyd.toml) has every key with its default. The environment
goes before the file: `ANOMALYD_MQTT__HOST` is `mqtt.host`, and `ANOMALYD_STREAMS` all streams, as a
JSON list. The secrets are in files of their own, or in the systemd credentials `mqtt_password` and
`http_token`, which go before both. `anomalyd check --config FILE` says what is in force and what is
wrong.

A reload (SIGHUP, `systemctl reload anomalyd`) reads it again, whole or not at all: with a mistake
in it, the old one stays in force and one line of the log says why. Keys marked **reload** then hold
at once; the log names those of the others that have changed, and they wait for a restart.
"""


def reference() -> str:
    """The text of deploy/CONFIGURATION.md."""
    return "\n".join([REFERENCE_HEAD, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    settings = Settings()
    plain = [name for name, field in Settings.model_fields.items() if _is_plain(name, field)]
    yield from _table("The top level", "", Settings, plain)
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name == "streams":
            yield f"\n## [[streams]]\n\n{Stream.__doc__} As many as there are.\n"
            yield from _rows("streams.", Stream, list(Stream.model_fields))
        elif isinstance(value, BaseModel):
            keys = list(type(value).model_fields)
            yield from _table(f"[{name}]", f"{name}.", type(value), keys)


def _is_plain(name: str, field: FieldInfo) -> bool:
    return not (name == "streams" or field.exclude or isinstance(field.default, BaseModel))


def _table(title: str, prefix: str, section: type[BaseModel], keys: list[str]) -> Iterator[str]:
    about = f"{section.__doc__}\n" if prefix else ""
    yield f"\n## {title}\n\n{about}"
    yield from _rows(prefix, section, keys)


def _rows(prefix: str, section: type[BaseModel], keys: list[str]) -> Iterator[str]:
    yield "| key | default | allowed | meaning | |\n|---|---|---|---|---|"
    for key in keys:
        field = section.model_fields[key]
        default = "must be given" if field.is_required() else _shown(field.default)
        reload = "**reload**" if in_flight(prefix + key) else ""
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{key}` | {default} | {allowed(field)} | {meaning} | {reload} |"


def _shown(value: Any) -> str:
    return "not set" if value is None else f"`{_toml(value)}`"


def _keys(section: BaseModel, prefix: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name == "streams":
            yield from _stream()
        elif isinstance(value, BaseModel):
            yield f"\n# {type(value).__doc__}\n[{name}]"
            yield from _keys(value, f"{name}.")
        elif not field.exclude:
            yield _key(name, field, EXAMPLES.get(prefix + name, value))


def _stream() -> Iterator[str]:
    yield f"\n# {Stream.__doc__}\n# As many as you have; without one nothing is received."
    yield "#[[streams]]"
    for name, field in Stream.model_fields.items():
        yield _key(name, field, STREAM[name])


def _key(name: str, field: FieldInfo, value: Any) -> str:
    notes = [note for note in (_choices(field), _default(field, value)) if note]
    meaning = f"{field.description} ({'; '.join(notes)})" if notes else field.description
    return f"# {meaning}\n#{name} = {_toml(value)}"


def _choices(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return "one of " + ", ".join(str(choice) for choice in choices) if choices else ""


def _default(field: FieldInfo, value: Any) -> str:
    """What holds without the key, where that is not the value shown."""
    if field.is_required() or field.default == value:
        return ""
    return "default: not set" if field.default is None else f"default: {_toml(field.default)}"


def _toml(value: Any) -> str:
    """JSON's strings, numbers, booleans and lists are TOML's too."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    return json.dumps(str(value) if isinstance(value, Path) else value)


if __name__ == "__main__":
    SAMPLE.write_text(sample(), encoding="utf-8")
    REFERENCE.write_text(reference(), encoding="utf-8")
