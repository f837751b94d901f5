"""The broker."""

from anomalyd.adapters.mqtt.buffered import TICKET_DUP, TICKET_ID
from anomalyd.adapters.mqtt.client import Delivery, Echo, MqttClient

__all__ = ["TICKET_DUP", "TICKET_ID", "Delivery", "Echo", "MqttClient"]
