"""Puts the secrets that a job needs into its specification, out of the credentials block.

Task parameters are shown to everybody who sees a run, so no task takes a secret. A secret is sent only with a job that
has a use for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from together_flows.jobs.model import Spec
from together_flows.prefect.credentials import TogetherCredentials

__all__ = ["with_secrets"]


def with_secrets(kind: str, spec: Spec, credentials: TogetherCredentials) -> dict[str, Any]:
    """The specification together with the secrets that it calls for."""
    full = dict(spec)
    if kind == "fine_tune":
        if any(name.startswith("wandb_") for name in spec):
            full["wandb_api_key"] = credentials.wandb_api_key
        if "from_hf_model" in spec or "hf_output_repo_name" in spec:
            full["hf_api_token"] = credentials.hf_token
    elif kind == "model_upload":
        full["hf_token"] = credentials.hf_token
    elif kind == "evaluation" and isinstance(spec.get("parameters"), Mapping):
        full["parameters"] = {name: _external(value, credentials) for name, value in dict(spec["parameters"]).items()}
    return {name: value for name, value in full.items() if value is not None}


def _external(value: Any, credentials: TogetherCredentials) -> Any:
    """A model of an evaluation, with the token for it if it runs elsewhere."""
    if not isinstance(value, Mapping) or value.get("model_source") != "external" or value.get("external_api_token"):
        return value
    return {**value, "external_api_token": credentials.external_api_token}
