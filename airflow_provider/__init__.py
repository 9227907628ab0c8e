"""The Airflow provider: operators, sensors, triggers and a hook for Together AI.

Nothing here loads an HTTP library when it is imported: schedulers parse the modules that mention it every few seconds.
"""

from __future__ import annotations

from typing import Any

from together_flows import __version__

__all__ = ["__version__", "get_provider_info"]

_INTEGRATION = "Together AI"
_OPERATORS = (
    "base",
    "batch",
    "cluster",
    "deployment",
    "endpoint",
    "evaluation",
    "file",
    "fine_tune",
    "inference",
    "model_upload",
    "operation",
    "queue",
    "rl",
    "sweep",
    "teardown",
    "video",
)


def get_provider_info() -> dict[str, Any]:
    """What Airflow is told about this package, through the entry point ``apache_airflow_provider``."""
    return {
        "package-name": "together-flows",
        "name": _INTEGRATION,
        "description": "Fine-tuning, evaluation, batch inference and endpoints on `Together AI <https://together.ai>`__.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.together.ai",
                "tags": ["ai", "service"],
            }
        ],
        "hooks": [_modules("hooks", "together")],
        "operators": [_modules("operators", *_OPERATORS)],
        "sensors": [_modules("sensors", "job")],
        "triggers": [_modules("triggers", "job")],
        "extra-links": ["airflow_provider.links.together.TogetherJobLink"],
        "connection-types": [_connection_type()],
    }


def _modules(kind: str, *names: str) -> dict[str, Any]:
    return {
        "integration-name": _INTEGRATION,
        "python-modules": [f"airflow_provider.{kind}.{name}" for name in names],
    }


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "together",
        "hook-class-name": "airflow_provider.hooks.together.TogetherHook",
        "hook-name": "Together AI",
        "ui-field-behaviour": {
            "hidden-fields": ["login", "schema", "port", "extra"],
            "relabeling": {"password": "API key", "host": "Base URL"},
            "placeholders": {"host": "https://api.together.ai/v1"},
        },
        "conn-fields": {
            "timeout": _number_field("Time-out", "Seconds without a sign of life after which a request has failed.", 1),
            "connect_timeout": _number_field("Time-out of connecting", "Seconds that a connection may take.", 1),
            "max_connections": _number_field("Most connections", "Connections that may be open at once.", 1),
        },
    }


def _number_field(label: str, description: str, minimum: int) -> dict[str, Any]:
    return {
        "label": label,
        "description": description,
        "schema": {"type": ["number", "null"], "minimum": minimum},
    }
