"""Every error that anomalyd raises on purpose. The message names the thing and fits on one line.

`cli.py` turns them into one line on stderr and an exit status; nothing else catches the base class.
"""


class AnomalydError(Exception):
    """The command failed: exit status 1."""


class ConfigError(AnomalydError):
    """The configuration or the command line can't be used: exit status 2."""


class ModelError(AnomalydError):
    """A model file, or a version in the registry, is missing, damaged, foreign, of another format,
    or can't be stored."""


class StateError(AnomalydError):
    """A generation of the state is damaged, foreign, or of another version."""


class DataError(AnomalydError):
    """An input file of `replay`, `train` or `simulate` can't be read as readings."""


class ChunkError(AnomalydError):
    """A file of the history is damaged, foreign, or of another version: it is left out."""


class ProgramMissing(AnomalydError):
    """A program that this command starts (the embedded broker, say) is not installed."""


class ServiceFailed(AnomalydError):
    """A thread of the running service has died, or a port that it needs is taken."""


class Stopped(Exception):
    """No error: whoever trains was told to stop, before there was anything to keep."""
