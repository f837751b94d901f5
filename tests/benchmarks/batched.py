"""What a reading costs that comes with 99 others, next to the network's own step.

Intake and pipeline in this process, in batches of a thousand readings, one of each channel, which
is what a daemon under load works in (rounds of a hundred, where a message has one channel's); CPU
of this thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyd.demo.plant import Plant
from anomalyd.detection.experts import Beats
from anomalyd.model import checkpoint
from anomalyd.model.predictor import Predictor
from anomalyd.runtime import registry
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.settings import Settings, Stream
from tests.benchmarks import load

_START_S = 1_700_000_000.0
_STREAMS = {
    "array": Stream(
        topic="plant/{line}/{machine}/{sensor}", value="[].value", time="[].ts", interval_s=1.0
    ),
    "sparkplug": Stream(
        topic="spBv1.0/{group}/+/{node}/{device*}", format="sparkplug", interval_s=1.0
    ),
}
_STEPS = 50


@dataclass(frozen=True)
class BatchedCost:
    """CPU microseconds a reading."""

    decode_us: float
    detect_us: float
    network_us: float

    @property
    def ratio(self) -> float:
        return (self.decode_us + self.detect_us) / self.network_us


def measure(shape: str, channels: int, readings: int) -> BatchedCost:
    """So many readings, of which the first third finds the channels; and the network alone."""
    streams = (_STREAMS[shape],)
    settings = Settings(streams=streams)
    served = registry.load(streams, Path.cwd(), settings.channels.max)
    pipeline = Pipeline("bench", settings.channels, settings.alerts, streams, served.predictors)
    intake = Intake(streams, pipeline, settings.channels.max_skew_s)
    steps = readings // channels
    rows = Plant(1, channels).run(steps).tolist()
    messages = [_message(each) for each in load.packets(channels, rows, _START_S, shape)]
    at_once = channels // load.PER_MESSAGE[shape] if shape == "sparkplug" else channels
    decode_s, detect_s, counted = 0.0, 0.0, 0
    for begin in range(0, len(messages), at_once):
        first = time.thread_time()
        found, _ = intake.read(messages[begin : begin + at_once], _START_S + readings)
        second = time.thread_time()
        pipeline.step(found, _START_S + begin)
        third = time.thread_time()
        if begin >= len(messages) // 3:
            decode_s, detect_s = decode_s + second - first, detect_s + third - second
            counted += len(found)
    network_s = _network_s(served.predictors[-1], channels)
    return BatchedCost(1e6 * decode_s / counted, 1e6 * detect_s / counted, 1e6 * network_s)


def _message(packet: bytes) -> Message:
    at = 2
    while packet[at - 1] & 0x80:
        at += 1
    end = at + 2 + int.from_bytes(packet[at : at + 2])
    return Message(packet[at + 2 : end].decode(), packet[end:], 0.0)


def _network_s(predictor: Predictor, channels: int) -> float:
    """CPU seconds of the LSTM's step for one of so many channels."""
    rows, calm = np.arange(channels), np.zeros(channels, dtype=np.bool_)
    beats = Beats(np.full(channels, _START_S), np.ones(channels), calm)
    outlook = predictor.bank.observe(rows, np.random.default_rng(0).normal(size=channels), beats)
    network = checkpoint.shipped_network()
    state = np.zeros((channels, network.config.hidden), dtype=np.float32)
    features, forecasts = outlook.features, outlook.forecasts.astype(np.float32)
    network.step(features, forecasts, state, state)
    began = time.thread_time()
    for _ in range(_STEPS):
        network.step(features, forecasts, state, state)
    return (time.thread_time() - began) / _STEPS / channels
