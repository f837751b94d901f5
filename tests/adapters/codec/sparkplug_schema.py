"""Sparkplug B's message types for google's protobuf, which the own reader is held against.

Written from the field table of the Sparkplug 3.0 specification, section 6.4; only what readings
need; data sets, templates and extensions as bytes, so that what is in them is read by neither.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPE = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "u32": _TYPE.TYPE_UINT32,
    "u64": _TYPE.TYPE_UINT64,
    "float": _TYPE.TYPE_FLOAT,
    "double": _TYPE.TYPE_DOUBLE,
    "bool": _TYPE.TYPE_BOOL,
    "text": _TYPE.TYPE_STRING,
    "bytes": _TYPE.TYPE_BYTES,
}
_VALUES = [("int_value", "u32"), ("long_value", "u64"), ("float_value", "float")]
_VALUES += [("double_value", "double"), ("boolean_value", "bool"), ("string_value", "text")]

_MESSAGES: dict[str, list[tuple[int, str, str, str]]] = {
    # number, name, type, "" | "*" (repeated) | "1" (one of the values)
    "Property": [
        (1, "type", "u32", ""),
        (2, "is_null", "bool", ""),
        *((number, name, kind, "1") for number, (name, kind) in enumerate(_VALUES, 3)),
    ],
    "Properties": [(1, "keys", "text", "*"), (2, "values", ".t.Property", "*")],
    "Metric": [
        (1, "name", "text", ""),
        (2, "alias", "u64", ""),
        (3, "timestamp", "u64", ""),
        (4, "datatype", "u32", ""),
        (5, "is_historical", "bool", ""),
        (6, "is_transient", "bool", ""),
        (7, "is_null", "bool", ""),
        (9, "properties", ".t.Properties", ""),
        *((number, name, kind, "1") for number, (name, kind) in enumerate(_VALUES, 10)),
        (16, "bytes_value", "bytes", "1"),
        (17, "dataset_value", "bytes", "1"),
        (18, "template_value", "bytes", "1"),
        (19, "extension_value", "bytes", "1"),
    ],
    "Payload": [
        (1, "timestamp", "u64", ""),
        (2, "metrics", ".t.Metric", "*"),
        (3, "seq", "u64", ""),
        (4, "uuid", "text", ""),
        (5, "body", "bytes", ""),
    ],
}


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(place == "1" for *_, place in fields):
            message.oneof_decl.add(name="value")
        for number, field, kind, place in fields:
            label = _TYPE.LABEL_REPEATED if place == "*" else _TYPE.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if kind in _KINDS:
                made.type = _KINDS[kind]
            else:
                made.type, made.type_name = _TYPE.TYPE_MESSAGE, kind
            if place == "1":
                made.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Payload"))


Payload = _payload_class()


def payload(*metrics: dict[str, Any], timestamp: int | None = 1_700_000_000_000) -> bytes:
    """Bytes of a payload; `properties` of a metric is {name: value}."""
    built = Payload(seq=1)
    if timestamp is not None:
        built.timestamp = timestamp
    for metric in metrics:
        made = built.metrics.add()
        for key, value in metric.items():
            if key == "properties":
                for name, said in value.items():
                    made.properties.keys.append(name)
                    kind = "string_value" if isinstance(said, str) else "int_value"
                    made.properties.values.add(**{kind: said})
            else:
                setattr(made, key, value)
    raw: bytes = built.SerializeToString()
    return raw
