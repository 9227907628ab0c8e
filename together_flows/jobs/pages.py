"""Where a person looks at a job in a browser."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from together_flows.jobs.model import JobReference

__all__ = ["page_of"]

_CONSOLE = "https://api.together.ai"
_PAGES = {
    "file": "/files",
    "fine_tune": "/fine-tuning/{id}",
    "batch": "/batches",
    "evaluation": "/evaluations",
    "endpoint": "/endpoints",
    "model_upload": "/models",
    "cluster": "/clusters",
    "shared_volume": "/clusters",
}


def page_of(reference: JobReference, base_url: str = "") -> str:
    """The address of a job's page: on Together's site, or in the emulator when that is where the job runs.

    Args:
        reference: the job.
        base_url: the API's base URL that the job was submitted to; empty for Together's own.
    """
    host = urlsplit(base_url).hostname or ""
    own_id = unquote(reference.id.rpartition("/")[2])  # some kinds are read by more than that; it stands last
    job_id = quote(own_id, safe="")
    if host and not host.endswith((".together.ai", ".together.xyz")):
        root = base_url.rstrip("/").removesuffix("/v1")
        return f"{root}/_emulator/jobs/{reference.kind}/{job_id}"
    return _CONSOLE + _PAGES.get(reference.kind, "").format(id=job_id)
