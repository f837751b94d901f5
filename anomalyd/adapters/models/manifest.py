"""What is known of a version of a model: a JSON file beside it, and a line of `models list`.

A value; `store.py` writes and reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

SHIPPED = "shipped"
"""the version of a role that came with the program, or that a stream names: always there, never
pruned"""
NEXT_STEP = "next-step"
FORECAST = "forecast"
ASSET = "asset:"
"""begins the role of a class of assets; the rest is the stem of the file that its streams name"""

Status = Literal["challenger", "shadow", "current", "rejected", "retired", "rolled-back", "shipped"]
FORMAT = "anomalyd/model/1"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a version. Times are seconds since 1970."""

    role: str
    created_s: float
    seed: int
    code_version: str
    parent: str = SHIPPED
    """what it was trained from"""
    data_since_s: float | None = None
    data_until_s: float | None = None
    metrics: Mapping[str, Any] = {}
    reason: str = ""
    """why it was made; then why it was promoted, rejected or rolled back"""
    status: Status = "challenger"
    version: str = ""
    """given by the store, as is all that follows"""
    sha256: str = ""
    """of the file's bytes"""
    format: str = FORMAT

    @staticmethod
    def named(version: str, role: str) -> Manifest:
        """Of a version that came with the program, or of which no more matters."""
        return Manifest(
            role=role, created_s=0.0, seed=0, code_version="", parent="", version=version
        )
