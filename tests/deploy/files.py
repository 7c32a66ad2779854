"""The deployment's files, read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
IMAGE = "flashorder:"


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    document: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return document


def services() -> dict[str, dict[str, Any]]:
    """Every service by name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def roles() -> dict[str, dict[str, Any]]:
    """The services that run the project's own image."""
    return {name: each for name, each in services().items() if each["image"].startswith(IMAGE)}


def read(path: str) -> str:
    """A file of the checkout."""
    return (ROOT / path).read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile: (instruction, rest) with continued lines joined, comments left out."""
    text = "\n".join(
        line for line in read("Dockerfile").splitlines() if not line.lstrip().startswith("#")
    )
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


def dashboards() -> list[dict[str, Any]]:
    """Every dashboard that Grafana is given."""
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
