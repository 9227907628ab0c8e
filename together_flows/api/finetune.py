"""The download of what a fine-tuning job made."""

from __future__ import annotations

from typing import Literal

from together_flows.api._model import Name
from together_flows.api._operation import Reply, operation

__all__ = ["download"]


@operation("GET", "/finetune/download", reply=Reply.BYTES)
def download(
    *,
    ft_id: Name,
    checkpoint_step: int | None = None,
    checkpoint: Literal["merged", "adapter", "model_output_path"] | str | None = None,
) -> bytes:
    """Download a trained model, or one of its checkpoints, as a tar archive.

    `Together.download` writes it to disk, and resumes it, without holding it in memory.

    Args:
        ft_id: `ft-…`.
        checkpoint_step: step of the checkpoint; `checkpoint` is then ignored.
        checkpoint: `merged` or `adapter` for LoRA jobs, `model_output_path` for full training. The API asks for it when
            `checkpoint_step` is left out.

    Raises:
        NotFound: there is no such job, or it has no output.
    """
