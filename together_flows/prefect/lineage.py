"""File → model → endpoint as Prefect assets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE

from together_flows.prefect.view import run_logger

__all__ = ["amaterialized", "endpoint_asset", "file_asset", "materialized", "model_asset"]


def file_asset(file_id: str, *, name: str = "", page: str = "") -> Asset:
    """A file on Together."""
    return _asset("file", file_id, name, page)


def model_asset(model: str, *, page: str = "") -> Asset:
    """A model that can be asked or trained further."""
    return _asset("model", model, model, page)


def endpoint_asset(name: str, *, page: str = "") -> Asset:
    """A dedicated endpoint."""
    return _asset("endpoint", name, name, page)


def _asset(kind: str, key: str, name: str, page: str) -> Asset:
    properties = AssetProperties(name=name or key, url=page or None)
    return Asset(key=f"together://{kind}/{quote(key, safe='/-._')}", properties=properties)


def materialized(asset: Asset, *, upstream: Iterable[Asset], facts: Mapping[str, Any]) -> None:
    """Record that an asset was made, and out of what. It is a task of its own, as Prefect's lineage asks for."""

    @materialize(asset, asset_deps=list(upstream), by="together-ai", name="record_asset", cache_policy=NO_CACHE)
    def record_asset() -> None:
        add_asset_metadata(asset, dict(facts))

    try:
        record_asset()
    except Exception as error:  # lineage never fails a paid job
        _not_recorded(asset, error)


async def amaterialized(asset: Asset, *, upstream: Iterable[Asset], facts: Mapping[str, Any]) -> None:
    """The same as `materialized`, on the event loop."""

    @materialize(asset, asset_deps=list(upstream), by="together-ai", name="record_asset", cache_policy=NO_CACHE)
    async def record_asset() -> None:
        add_asset_metadata(asset, dict(facts))

    try:
        await record_asset()
    except Exception as error:  # lineage never fails a paid job
        _not_recorded(asset, error)


def _not_recorded(asset: Asset, error: Exception) -> None:
    run_logger()(f"The lineage of {asset.key} could not be recorded: {error}", "debug")
