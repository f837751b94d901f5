"""The broker."""

from anomalyd.adapters.mqtt.client import Delivery, MqttClient

__all__ = ["Delivery", "MqttClient"]
