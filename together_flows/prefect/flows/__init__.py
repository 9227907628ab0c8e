"""Flows that run as they are: the fine-tuning pipeline, batch inference, and the sweep for what was left running."""

from __future__ import annotations

from together_flows.prefect.flows.batch_inference import batch_inference
from together_flows.prefect.flows.fine_tune_pipeline import fine_tune_pipeline
from together_flows.prefect.flows.sweep import sweep

__all__ = ["batch_inference", "fine_tune_pipeline", "sweep"]
