"""The credentials block: the only way by which a key reaches a task."""

from __future__ import annotations

import os
from typing import ClassVar

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from together_flows.client import AsyncTogether, Together
from together_flows.errors import ConfigurationInvalid

__all__ = ["TogetherCredentials", "acredentials_of", "credentials_of", "name_of"]

_HOW_TO_MAKE = (
    "Make it once, on a machine that reaches the Prefect API: "
    "TogetherCredentials(api_key=os.environ['TOGETHER_API_KEY']).save({name!r})."
)


class TogetherCredentials(CredentialsBlock):
    """An account at Together AI, and the keys of other services that its jobs may need.

    Tasks take the name under which it is saved, or the loaded block. Only a saved block lets the hooks of a flow, which
    run in another process, end what a cancelled run has left.

    Attributes:
        api_key: the account's key.
        base_url: address of the API; `TOGETHER_BASE_URL` or Together's own when left out.
        wandb_api_key: key for Weights & Biases, for fine-tuning jobs that report there.
        hf_token: token for Hugging Face, for private models.
        external_api_token: key for models elsewhere, for evaluations that ask them.

    Example:
        ```python
        TogetherCredentials(api_key=os.environ["TOGETHER_API_KEY"]).save("together")
        ```
    """

    _block_type_name: ClassVar[str] = "Together AI Credentials"
    _block_type_slug: ClassVar[str] = "together-ai-credentials"
    _description: ClassVar[str] = "An account at Together AI."

    api_key: SecretStr = Field(description="The account's key.")
    base_url: str | None = Field(default=None, description="Address of the API, if it is not Together's own.")
    wandb_api_key: SecretStr | None = Field(default=None, description="Key for Weights & Biases.")
    hf_token: SecretStr | None = Field(default=None, description="Token for Hugging Face.")
    external_api_token: SecretStr | None = Field(default=None, description="Key for models elsewhere.")

    def get_base_url(self) -> str:
        """The address that the block's clients talk to."""
        return self.base_url or os.environ.get("TOGETHER_BASE_URL", "")

    def get_client(self) -> Together:
        """A new client for this account. Close it, or use it as a context manager."""
        return Together(api_key=self.api_key, base_url=self.base_url)

    def get_async_client(self) -> AsyncTogether:
        """A new client for this account and the running event loop. Close it, or use it as a context manager."""
        return AsyncTogether(api_key=self.api_key, base_url=self.base_url)


def credentials_of(credentials: TogetherCredentials | str) -> TogetherCredentials:
    """The block, loaded if only its name is given.

    Raises:
        ConfigurationInvalid: there is no block of that name.
    """
    if isinstance(credentials, TogetherCredentials):
        return credentials
    name = _bare(credentials)
    try:
        loaded = TogetherCredentials.load(name, _sync=True)  # type: ignore[call-arg] # taken by Prefect's dispatcher
    except ValueError as missing:
        raise _missing(name, missing) from None
    assert isinstance(loaded, TogetherCredentials)
    return loaded


async def acredentials_of(credentials: TogetherCredentials | str) -> TogetherCredentials:
    """The same as `credentials_of`, on the event loop."""
    if isinstance(credentials, TogetherCredentials):
        return credentials
    name = _bare(credentials)
    try:
        return await TogetherCredentials.aload(name)
    except ValueError as missing:
        raise _missing(name, missing) from None


def name_of(credentials: TogetherCredentials | str) -> str:
    """The name under which the block is saved; empty if it is not saved."""
    if isinstance(credentials, str):
        return _bare(credentials)
    return credentials._block_document_name or ""  # Prefect has no public name for it


def _bare(name: str) -> str:
    """The name alone, also where it is written with its type, as Prefect's interface shows it."""
    return name.removeprefix(f"{TogetherCredentials._block_type_slug}/")


def _missing(name: str, cause: ValueError) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"There is no credentials block {name!r}. ({cause})", mend=_HOW_TO_MAKE.format(name=name or "together")
    )
