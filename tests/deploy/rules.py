"""The shipped alert and recording rules, read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULE_FILES = tuple(PROMETHEUS / f"{name}.yml" for name in ("recording", "plant", "daemon"))
_WORDS = re.compile(r"\b(?:anomalyd|process|python)[_:][a-z0-9_:]+|\bup\b")


def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    return [
        rule
        for file in RULE_FILES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    """name -> alert rule."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    """Names of the series that the recording rules make."""
    return {rule["record"] for rule in rules() if "record" in rule}


def without_comparisons(expression: str) -> str:
    """It has a series also while the rule is false."""
    return re.sub(r"\s*(==|>=|>|<)\s*[\d.]+", "", expression)


def metrics_in(expression: str) -> set[str]:
    """Names of the series that an expression asks for; what stands in quotes is no name."""
    return set(_WORDS.findall(re.sub(r'"[^"]*"', '""', expression)))


def labels_in(expression: str) -> Iterator[str]:
    """Labels that an expression matches or groups by."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    for inside in re.findall(r"\{([^}]*)\}", bare):
        yield from re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)
    for inside in re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", bare):
        yield from (label.strip() for label in inside.split(",") if label.strip())
