"""anomalyd: tells a plant in seconds, and says why, when a sensor stops behaving as it should."""

__version__ = "0.1.0"
