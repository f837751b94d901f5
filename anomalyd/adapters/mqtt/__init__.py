"""The broker."""

from anomalyd.adapters.mqtt.client import MqttClient

__all__ = ["MqttClient"]
