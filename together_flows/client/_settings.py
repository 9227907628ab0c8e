"""What a client needs to know before it can send: the account's key and the address of the API."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from together_flows.errors import ConfigurationInvalid

__all__ = ["API_KEY_VARIABLE", "BASE_URL_VARIABLE", "DEFAULT_BASE_URL", "Settings", "printable"]

log = logging.getLogger(__name__)

API_KEY_VARIABLE = "TOGETHER_API_KEY"
BASE_URL_VARIABLE = "TOGETHER_BASE_URL"
DEFAULT_BASE_URL = "https://api.together.ai/v1"

_VERSION_AT_THE_END = re.compile(r"/v\d+$")


@dataclass(frozen=True)
class Settings:
    """An account at an address.

    Attributes:
        api_key: the account's key.
        root: address of the API without its version, for an operation knows its own version.
    """

    api_key: SecretStr
    root: str

    @classmethod
    def resolve(
        cls,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Settings:
        """Take what was given, and the rest from the environment.

        Raises:
            ConfigurationInvalid: there is no key, or the key or the address cannot be one.
        """
        environment = os.environ if environment is None else environment
        if isinstance(api_key, SecretStr):
            api_key = api_key.get_secret_value()
        return cls(
            api_key=_checked_key(environment.get(API_KEY_VARIABLE, "") if api_key is None else api_key),
            root=_checked_root(base_url or environment.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL),
        )

    @property
    def base_url(self) -> str:
        """Address of version 1, as `base_url` would be given."""
        return f"{self.root}/v1"

    @property
    def account(self) -> str:
        """A short name of the account that tells nothing of the key: equal for equal keys at the same address."""
        named = f"{self.root}\0{self.api_key.get_secret_value()}".encode()
        return hashlib.blake2b(named, digest_size=6, person=b"together-flows").hexdigest()

    def url(self, version: str, path: str) -> str:
        """Full address of a path in a version of the API."""
        return f"{self.root}/{version}{path}"


def printable(text: str) -> bool:
    """Whether a text can be the value of a header as it is."""
    return text.isascii() and text.isprintable()


def _checked_key(given: str) -> SecretStr:
    key = given.strip()  # a key read from a file ends in a newline
    if not key:
        raise ConfigurationInvalid(
            "No API key for Together AI.",
            mend=f"Set the environment variable {API_KEY_VARIABLE}, or pass api_key=….",
        )
    if not printable(key) or " " in key:
        raise ConfigurationInvalid(
            "The API key contains characters that no key has.",
            mend=f"Copy it again into {API_KEY_VARIABLE}, without quotes, spaces or line breaks.",
        )
    return SecretStr(key)


def _checked_root(given: str) -> str:
    url = given.strip().rstrip("/")
    mend = f"Give an address such as {DEFAULT_BASE_URL} as base_url or in {BASE_URL_VARIABLE}."
    try:
        parts = urlsplit(url)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ConfigurationInvalid(f"The base URL is malformed: {error}.", mend=mend) from None
    if parts.username or parts.password:
        raise ConfigurationInvalid("The base URL carries a user name or password.", mend=mend)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_a_number or not _is_plain(url):
        raise ConfigurationInvalid(f"The base URL {url!r} is not an http(s) address.", mend=mend)
    if parts.query or parts.fragment:
        raise ConfigurationInvalid("The base URL carries a query or a fragment.", mend=mend)
    if parts.scheme == "http":
        _warn_of_plain_http(parts.hostname)
    return _VERSION_AT_THE_END.sub("", url)


@functools.cache  # once for each host and process
def _warn_of_plain_http(host: str) -> None:
    """Say that the key can be read on the way. It is not refused: a gateway or an emulator may be the next machine."""
    if not _is_this_machine(host):
        log.warning(
            "The API at %s is reached by plain http: whoever sits between can read the key. Give an https address.",
            host,
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_plain(url: str) -> bool:
    return url.isprintable() and " " not in url and "\\" not in url
