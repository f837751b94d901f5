"""Every key, its default and its meaning, once.

The tree is read from a TOML file, then from the environment (`ANOMALYD_MQTT__HOST`), then from
secrets (`$CREDENTIALS_DIRECTORY`, `mqtt.password_file`); a later source wins. `cli.py` loads it
once; every part receives its own section, never the tree. A key that does not exist is an error.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from anomalyd.errors import ConfigError

ENV_PREFIX = "ANOMALYD_"
PASSWORD_CREDENTIAL = "mqtt_password"  # noqa: S105 - the credential's name, not its content
TOKEN_CREDENTIAL = "http_token"  # noqa: S105

IN_FLIGHT = (
    "alerts.",
    "channels.retire_after_s",
    "channels.max_skew_s",
    "ingest.linger_s",
    "log.level",
)
"""what a reload (SIGHUP) applies; every other key needs a restart"""


_KINDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


class Section(BaseModel):
    """A table of the file: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mqtt(Section):
    """The broker that readings come from and alerts go to."""

    host: str = Field("127.0.0.1", min_length=1, description="broker's host name or address")
    port: int = Field(1883, ge=1, le=65535, description="broker's port")
    hosts: tuple[str, ...] = Field(
        (), description="further brokers, HOST or HOST:PORT: tried in turn where one fails"
    )
    transport: Literal["tcp", "websockets"] = Field("tcp", description="what carries MQTT")
    websocket_path: str = Field(
        "/mqtt", pattern="^/", description="with websockets: the URL's path"
    )
    version: Literal["3.1.1", "5"] = Field("3.1.1", description="of MQTT")
    tls: bool = Field(False, description="encrypt, and check the broker's certificate and name")
    ca_file: Path | None = Field(
        None, description="with TLS: who vouches for the broker (PEM); absent = the system's"
    )
    cert_file: Path | None = Field(
        None, description="with TLS: certificate to show to the broker, with its chain (PEM)"
    )
    key_file: Path | None = Field(None, description="with TLS: the certificate's private key (PEM)")
    username: str = Field("", description="user name; empty = none")
    password_file: Path | None = Field(
        None, description="file with the password; or the systemd credential mqtt_password"
    )
    client_id: str = Field("", description="empty = anomalyd-<instance>")
    keepalive_s: int = Field(30, ge=2, le=3600, description="ping the broker this often")
    qos: Literal[0, 1, 2] = Field(1, description="highest QoS to receive readings with")
    clean_session: bool | None = Field(
        None,
        description="the broker keeps nothing while the daemon is away; absent = only with qos 0",
    )
    session_expiry_s: int = Field(
        7 * 86400, ge=1, le=0xFFFFFFFE, description="with version 5: the broker keeps it so long"
    )
    user_properties: tuple[str, ...] = Field(
        (), description="with version 5: NAME=VALUE, told to the broker when connecting"
    )
    topic_prefix: str = Field(
        "anomalyd", pattern=r"^[^+#\s]+$", description="first level of every topic written"
    )
    reconnect_min_s: int = Field(1, ge=1, description="first pause before connecting again")
    reconnect_max_s: int = Field(30, ge=1, description="longest pause before connecting again")

    @property
    def keeps_session(self) -> bool:
        """The broker keeps what it has for the daemon while it is away."""
        return not (self.qos == 0 if self.clean_session is None else self.clean_session)

    @property
    def brokers(self) -> Sequence[tuple[str, int]]:
        """Host and port of each, the first one first."""
        return [(self.host, self.port), *(_address(each, self.port) for each in self.hosts)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [
            name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name) is not None
        ]
        if given and not self.tls:
            raise ValueError(f"{given[0]} needs tls = true")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        for each in self.user_properties:
            if "=" not in each or self.version != "5":
                raise ValueError(
                    f'user_properties: {each!r} must be NAME=VALUE, with version = "5"'
                )
        for each in self.hosts:
            _address(each, self.port)
        return self


def _address(text: str, port: int) -> tuple[str, int]:
    """Of `HOST`, `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError."""
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\s]+))(?::(\d{1,5}))?", text)
    if not found or not 0 < int(found[3] or port) < 65536:
        raise ValueError(f"hosts: {text!r} is not HOST or HOST:PORT")
    return found[1] or found[2], int(found[3] or port)


class Stream(Section):
    """A family of topics and how to read their payloads."""

    topic: str = Field(
        min_length=1,
        description="topic with named wildcards: {line} is one level, {path*} the rest; "
        "each becomes a label",
    )
    value: str = Field(
        "value",
        description='JSON field or dotted path; "" = a bare number; "*" = every numeric field '
        'is a channel; "data[].value" = a list of readings, "data[]" = a list of values',
    )
    time: str | None = Field(
        None,
        min_length=1,
        description="JSON field with the reading's time (s, ms, us, ns since 1970, or ISO 8601); "
        "absent = arrival time",
    )
    format: Literal["auto", "thingsboard", "senml", "influx", "sparkplug"] = Field(
        "auto", description="shape of the payloads; auto = as `value` says"
    )
    step: str | None = Field(
        None,
        min_length=1,
        description="with a list of values: JSON field with the time between two of them, in the "
        "unit of `time`, which is then the first one's",
    )
    map: dict[str, float] = Field({}, description="numbers for values that are texts")
    booleans: bool = Field(False, description="true is 1 and false is 0; else they are no values")
    quality: str | None = Field(
        None, min_length=1, description="JSON field that says how good a reading is"
    )
    good: tuple[bool | float | str, ...] = Field(
        (192.0, "GOOD", "Good", "good"),
        description="what `quality` says of a good reading; others are rejected",
    )
    interval_s: float | None = Field(
        None,
        gt=0,
        description="fixed grid: the last value in a bin is held; absent = every reading is a step",
    )
    group_by: tuple[str, ...] = Field(
        (), description="labels that make an asset: its channels are scored against each other too"
    )
    inputs: tuple[str, ...] = Field(
        (),
        description="with group_by: members of an asset (by the remaining labels) that are "
        "commands, set-points or machine state: the others are judged by them, they never are",
    )
    model: Path | None = Field(
        None,
        description="predictor for these channels, or asset model with group_by; absent = the "
        "shipped predictor",
    )
    channel: str | None = Field(
        None, min_length=1, description="channel's name; absent = topic from its first wildcard on"
    )
    unit: str = Field(
        "", description="unit of the values, for the alerts; empty = as the payload says"
    )
    low: float | None = Field(
        None, description="lower limit: an alert when it is reached, and before it will be"
    )
    high: float | None = Field(None, description="upper limit, likewise")
    physical: tuple[float, float] | None = Field(
        None, description="lowest and highest value that can be: another is no reading, and counted"
    )
    max_rate: float | None = Field(
        None, gt=0, description="fastest change that can be, a second: likewise"
    )
    retained: Literal["ignore", "seed", "use"] = Field(
        "seed",
        description="what the broker retains: no reading, a new channel's last value, or a reading",
    )
    reorder_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="with times in the payload: readings wait so long for earlier ones, and are "
        "scored in order; 0 = on arrival, and those that come out of order are rejected as late",
    )
    report_by_exception: bool = Field(
        False,
        description="silence means that the value holds: no channel of it is stale, stuck or in a "
        "gap",
    )
    forecast_model: Path | None = Field(
        None, description="forecaster for channels with limits; absent = the shipped one"
    )

    @model_validator(mode="after")
    def _order_needs_times(self) -> Self:
        if self.reorder_s and self.format == "auto" and self.time is None:
            raise ValueError("reorder_s needs `time`: on arrival nothing is out of order")
        return self

    @model_validator(mode="after")
    def _physical_is_a_range(self) -> Self:
        if self.physical is not None and self.physical[0] >= self.physical[1]:
            raise ValueError(f"physical = {list(self.physical)}: the lower must come first")
        return self

    @model_validator(mode="after")
    def _limits_are_a_range(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be less than high = {self.high:g}")
        return self


class Channels(Section):
    """How many channels there may be, and what is kept of each."""

    max: int = Field(50_000, ge=1, le=1_000_000, description="further channels are refused")
    window: int = Field(
        64, ge=16, le=4096, description="readings kept of each channel; alerts show the last 60"
    )
    warmup_readings: int = Field(
        120, ge=8, description="a new channel is `warming` for so many readings: no alerts"
    )
    retire_after_s: float = Field(
        7 * 86400.0, gt=0, description="a channel silent for so long is forgotten"
    )
    max_skew_s: float = Field(
        60.0, ge=0, description="readings further in the future than this are rejected"
    )
    gap_intervals: float = Field(
        10.0, gt=1, description="silence of so many usual intervals is a gap: no score across it"
    )


class Ingest(Section):
    """The inbox between the broker and the pipeline."""

    inbox_messages: int = Field(200_000, ge=1, description="messages held at most")
    inbox_mb: int = Field(
        256,
        ge=1,
        description="... and megabytes; above, the oldest of the busiest topics go",
    )
    linger_s: float = Field(
        0.05, ge=0, le=0.5, description="gather messages for so long before scoring them together"
    )


class Alerts(Section):
    """What makes an alert, and what ends it."""

    budget_per_week: float = Field(
        1.0, gt=0, description="false alarms one channel may raise a week"
    )
    plant_budget_per_day: float = Field(
        24.0, gt=0, description="... and all channels together a day; the stricter of the two holds"
    )
    forecast_budget_per_week: float = Field(
        1.0,
        gt=0,
        description="early warnings that don't come true, that one channel with limits may raise a "
        "week",
    )
    pending_readings: int = Field(
        1, ge=1, description="readings in a row at a score of 1 or more before an alert is raised"
    )
    clear_below: float = Field(
        0.8, gt=0, le=1, description="hysteresis: an alert ends when the score stays below this"
    )
    clear_readings: int = Field(20, ge=1, description="... for so many readings in a row")
    critical_score: float = Field(2.0, ge=1, description="severity is critical from this score on")
    update_every_s: float = Field(60.0, gt=0, description="a firing alert is updated this often")
    accept_after_s: float = Field(
        3600.0,
        gt=0,
        description="readings under alert are not learnt from; a level that lasts for so long, and "
        "that nobody has confirmed as a fault, is accepted as the new normal",
    )
    quality: tuple[Literal["stuck", "stale"], ...] = Field(
        ("stuck", "stale"), description="what is wrong with a sensor itself and raises an alert"
    )
    publish_scores: bool = Field(False, description="publish every verdict on .../score/<channel>")
    runbook_url: str = Field("", description="put into every alert")
    keep_days: float = Field(
        90.0, gt=0, description="alerts that ended longer ago are forgotten; confirmed ones aren't"
    )
    keep_mb: int = Field(
        500, ge=10, description="... and the oldest before, where the file would be larger"
    )


class Commands(Section):
    """What people may tell the daemon over MQTT."""

    enabled: bool = Field(
        False,
        description="take acknowledge, feedback and maintenance from .../command/<verb>; let the "
        "broker's access list say who may publish there",
    )


class Http(Section):
    """Metrics and health, on one port."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(9464, ge=0, le=65535, description="port; 0 = any free one")
    token_file: Path | None = Field(
        None,
        description="file with the bearer token that every page but /-/healthy asks for; or the "
        "systemd credential http_token",
    )
    certificate_file: Path | None = Field(
        None, description="TLS: certificate, with its chain (PEM); absent = plain HTTP"
    )
    key_file: Path | None = Field(None, description="TLS: the certificate's private key (PEM)")
    insecure: bool = Field(
        False,
        description="listen beyond this machine without token and TLS: only where something else "
        "guards the port",
    )

    @model_validator(mode="after")
    def _tls_is_a_pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self

    @property
    def local(self) -> bool:
        """Nobody beyond this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Metrics(Section):
    """The series of each channel in /metrics: score, value, expected, lower, upper."""

    per_channel: Literal["auto", "on", "off", "topk"] = Field(
        "auto",
        description="auto = of every channel, and as topk where there are more than auto_channels; "
        "topk = of those with the highest scores",
    )
    auto_channels: int = Field(10_000, ge=1, description="most channels that auto shows all of")
    topk: int = Field(100, ge=1, description="channels that topk shows")


class State(Section):
    """What is kept on disk."""

    directory: Path = Field(
        Path("/var/lib/anomalyd"),
        description="the plant's state, alerts, history and models; one daemon's alone",
    )
    save_every_s: float = Field(
        60.0, gt=0, description="what was learnt is saved this often, and at SIGTERM"
    )
    journal_mb: int = Field(
        500,
        ge=1,
        description="disk for the readings since the last save, in MB (30 bytes a reading)",
    )


class History(Section):
    """What scoring has seen, kept in `state.directory` for training."""

    max_mb: float = Field(
        1000.0, gt=0, description="disk for it, in MB (3 to 10 bytes a reading); the oldest goes"
    )
    readings_per_channel_per_day: int = Field(
        8640,
        ge=512,
        description="whole stretches up to so many are kept; all around alerts are, beyond that",
    )


class Retrain(Section):
    """Learning on site."""

    every_h: float = Field(
        24.0,
        ge=0,
        description="fine-tune the predictor this often, and where its residuals drift; "
        "0 = only when asked to",
    )
    history_h: float = Field(
        168.0, gt=0, description="learn from so many hours of the history; the last quarter judges"
    )
    shadow_h: float = Field(
        24.0,
        ge=0,
        description="what passed the gate scores beside what serves for so long, then takes its "
        "place; what served before scores on for as long, for the way back",
    )
    least_readings: int = Field(
        20_000, ge=1, description="with less history than this it waits until there is more"
    )
    steps: int = Field(480, ge=1, description="steps of one fine-tuning")
    seed: int = Field(1, ge=0, description="what is drawn at random follows from it")
    keep_models: int = Field(
        8, ge=2, description="versions of each kind of model that the registry keeps"
    )


class Log(Section):
    """How the daemon tells what it does."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe")
    format: Literal["auto", "plain", "json"] = Field(
        "auto", description="auto = plain, with priorities where journald reads them"
    )


class _Secrets(PydanticBaseSettingsSource):
    """The MQTT password and the HTTP token from the systemd credential directory."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            return {}
        secrets: dict[str, Any] = {}
        for name, credential in (
            ("password", Path(directory) / PASSWORD_CREDENTIAL),
            ("http_token", Path(directory) / TOKEN_CREDENTIAL),
        ):
            if _is_there(credential):
                secrets[name] = _read_secret(credential, f"credential {credential}")
        return secrets


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    instance: str = Field(
        "main", pattern=r"^[A-Za-z0-9_.-]+$", description="name of this daemon in topics and alerts"
    )
    mqtt: Mqtt = Mqtt()
    streams: tuple[Stream, ...] = ()
    channels: Channels = Channels()
    ingest: Ingest = Ingest()
    alerts: Alerts = Alerts()
    commands: Commands = Commands()
    http: Http = Http()
    metrics: Metrics = Metrics()
    state: State = State()
    history: History = History()
    retrain: Retrain = Retrain()
    log: Log = Log()
    password: SecretStr | None = Field(None, exclude=True, repr=False)
    http_token: SecretStr | None = Field(None, exclude=True, repr=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Secrets(settings_cls), env_settings

    @model_validator(mode="after")
    def _backoff_is_a_range(self) -> Self:
        if self.mqtt.reconnect_max_s < self.mqtt.reconnect_min_s:
            raise ValueError("mqtt.reconnect_max_s must not be less than mqtt.reconnect_min_s")
        return self

    @model_validator(mode="after")
    def _http_is_guarded(self) -> Self:
        guarded = (self.http_token or self.http.token_file) and self.http.certificate_file
        if not (self.http.local or guarded or self.http.insecure):
            raise ValueError(
                f"http.host = {self.http.host!r} can be reached from other machines: that needs "
                "http.token_file, http.certificate_file and http.key_file, or http.insecure = true"
            )
        return self

    @model_validator(mode="after")
    def _a_password_has_a_user(self) -> Self:
        if (self.password or self.mqtt.password_file) and not self.mqtt.username:
            raise ValueError("mqtt.username is missing: MQTT sends no password without a user name")
        return self


def load(path: Path | None, **flags: Any) -> Settings:
    """Read `path` (or only defaults and environment), with `flags` on top.

    Raises ConfigError with one line naming the key.
    """
    source = _from_file(path) if path else Settings
    try:
        settings = source(**flags)
    except ValidationError as error:
        raise ConfigError(f"{path or 'environment'}: {'; '.join(_explain(error))}") from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}: not JSON") from error
    for name, key, file in (
        ("password", "mqtt.password_file", settings.mqtt.password_file),
        ("http_token", "http.token_file", settings.http.token_file),
    ):
        if file and not getattr(settings, name):
            secret = _read_secret(file, f"{key} = {file}")
            settings = settings.model_copy(update={name: secret})
    return settings


def in_flight(key: str) -> bool:
    """A reload applies this key; otherwise it needs a restart."""
    return key.startswith(IN_FLIGHT)


def unknown_environment(environ: Mapping[str, str]) -> Iterator[str]:
    """One line for each `ANOMALYD_*` name that no setting reads (they are silently ignored)."""
    known = {name for name, _, _ in flatten(Settings.model_construct())}
    names = {name.upper().replace(".", "__") for name in known}
    names |= {section.upper() for section in Settings.model_fields}
    for name in sorted(environ):
        own = name.removeprefix(ENV_PREFIX).upper()
        if not name.startswith(ENV_PREFIX) or own in names:
            continue
        # Without the prefix: what all names share would make any two of them look alike.
        nearest = difflib.get_close_matches(own, names, 1)
        hint = f"; did you mean {ENV_PREFIX}{nearest[0]}?" if nearest else ""
        yield f"{name} is not a setting{hint}"


def allowed(field: FieldInfo) -> str:
    """What a key takes, in words: `one of a, b`, `a whole number, 1 to 65535`."""
    kinds = [
        kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType
    ]
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in kinds)
    if get_origin(field.annotation) is dict:
        return "a table: text = number"
    if get_origin(field.annotation) is tuple:
        return "a list of texts" if kinds[0] is str else "a list of texts, numbers, true or false"
    bounds = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "gt", "le", "lt", "min_length", "pattern")
        if getattr(limit, name, None) is not None
    }
    words = [_KINDS.get(kinds[0], str(kinds[0]))]
    words += [f"{_BOUNDS[name]} {limit}" for name, limit in bounds.items() if name in _BOUNDS]
    words += ["not empty"] * ("min_length" in bounds)
    words += [f"as `{bounds['pattern']}`"] if "pattern" in bounds else []
    return ", ".join(words)


def flatten(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted key, value, meaning) of every setting, in the order of the file."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if field.exclude:
            continue
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{prefix}{name}.")
        elif name == "streams":
            for index, stream in enumerate(value):
                yield from flatten(stream, f"streams.{index}.")
        else:
            yield prefix + name, value, field.description or ""


def _from_file(path: Path) -> type[Settings]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            environment = EnvSettingsSource(settings_cls)
            toml = TomlConfigSettingsSource(settings_cls, path)
            return init_settings, _Secrets(settings_cls), environment, toml

    return FromFile


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        own = ENV_PREFIX + key.upper().replace(".", "__")
        said = own if own in os.environ else key
        if problem["type"] == "extra_forbidden":
            yield f"{said} is not a setting{_nearest(problem['loc'])}"
        elif problem["type"] == "missing":
            yield f"{key} is missing"
        elif isinstance(problem["input"], dict) or "password" in key or "token" in key:
            # The value would be the whole tree, a table of it, or a secret.
            yield f"{said}: {problem['msg'].removeprefix('Value error, ')}"
        else:
            yield f"{said} = {problem['input']!r}: {_wanted(problem)}"


def _wanted(problem: ErrorDetails) -> str:
    """What is allowed there, where the key is one of ours; else what pydantic says."""
    field = _field(problem["loc"])
    if field is None:
        return problem["msg"].removeprefix("Value error, ")
    return f"must be {allowed(field)}"


def _section(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """What the last part of `location` is a key of, where it is one of ours."""
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, int):
            section = Stream
        elif part in section.model_fields and part != "streams":
            kind = section.model_fields[part].annotation
            if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
                return None
            section = kind
    return section


def _field(location: tuple[int | str, ...]) -> FieldInfo | None:
    section = _section(location)
    field = section.model_fields.get(str(location[-1])) if section else None
    return None if field is None or isinstance(field.default, BaseModel | tuple) else field


def _nearest(location: tuple[int | str, ...]) -> str:
    """A key of the same section first; then one of that name, or nearly, in another."""
    key, section = str(location[-1]), _section(location)
    own = list(section.model_fields) if section else []
    elsewhere = sorted(name for name, _, _ in flatten(Settings.model_construct()))
    last = {name.rpartition(".")[2] for name in elsewhere} | set(Stream.model_fields)
    found = (
        difflib.get_close_matches(key, own, 1)
        or [name for name in own if name.startswith(key)]
        or [name for name in elsewhere if name.endswith(f".{key}")]
        or difflib.get_close_matches(key, last | set(Settings.model_fields), 1)
    )
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _is_there(credential: Path) -> bool:
    """One that may not be looked at is a mistake, not an absent one."""
    try:
        return credential.is_file()
    except OSError as error:
        raise ConfigError(f"credential {credential}: {error}") from error


def _read_secret(path: Path, what: str) -> SecretStr:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: {error}") from error
    if not secret:
        raise ConfigError(f"{what}: is empty")
    return SecretStr(secret)
