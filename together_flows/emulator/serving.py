"""Which model a name stands for, and what it is like to ask it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import anyio.to_thread

from together_flows.emulator.catalogue import BASE_MODELS, BaseModel, base_model
from together_flows.emulator.endpoints import ENDPOINTS, touch
from together_flows.emulator.fine_tunes import FINE_TUNES, learned_examples
from together_flows.emulator.minds import BaseMind, Mind, TunedMind
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.uploads import MODEL_UPLOADS
from together_flows.emulator.world import World

__all__ = ["Served", "deployable", "serve"]

_KEPT_MINDS = 8


@dataclass(frozen=True)
class Served:
    """A model that can be asked.

    Attributes:
        name: the name it was asked for by.
        base: the model it is, or was tuned from.
        tuned: the fine-tune that made it; empty for a model as it came.
    """

    name: str
    base: BaseModel
    tuned: str = ""

    def mind(self, world: World) -> Mind:
        """What answers. That of a tuned model is built from its examples, which takes a moment the first time."""
        plain = BaseMind(self.base.id)
        return _minds.get(world, self.tuned, plain) if self.tuned else plain

    async def ready_mind(self, world: World) -> Mind:
        """What answers, built in a worker thread if it has to be built."""
        if self.tuned and not _minds.has(world, self.tuned):
            return await anyio.to_thread.run_sync(self.mind, world)
        return self.mind(world)


def serve(world: World, name: str) -> Served:
    """The model behind the name of a request.

    Raises:
        Refusal: 404, there is no such model; 400, it is not served, or its endpoint is not started.
    """
    endpoint = world.table(ENDPOINTS).find_by_key(name) or world.table(ENDPOINTS).find(name)
    if endpoint is not None:
        state = endpoint.status(world.clock.now())
        if state != "STARTED":
            raise Refusal(400, f"Endpoint {name} is {state}; it answers when STARTED.", code="endpoint_not_ready")
        touch(world, endpoint)
        return deployable(world, endpoint.model)
    served = deployable(world, name)
    if not served.tuned and not served.base.serverless:
        raise Refusal(
            400,
            f"Model {name} is not serverless; create and start a dedicated endpoint for it.",
            param="model",
            code="model_not_available",
        )
    return served


def deployable(world: World, name: str) -> Served:
    """The model of this name, whether or not it is served without an endpoint.

    Raises:
        Refusal: 404, there is no such model.
    """
    model = base_model(name)
    if model is not None:
        return Served(name, model)
    now = world.clock.now()
    tuned = world.table(FINE_TUNES).find_by_key(name)
    if tuned is not None and tuned.status(now) == "completed":
        return Served(name, BASE_MODELS[tuned.model], tuned.id)
    uploaded = world.table(MODEL_UPLOADS).find_by_key(name)
    if uploaded is not None and uploaded.status(now) == "Complete":
        return Served(name, base_model(uploaded.base_model) or base_model(uploaded.model_source) or _UNKNOWN_BASE)
    raise Refusal(404, f"Unable to find model {name!r}.", param="model", code="model_not_available")


_UNKNOWN_BASE = BaseModel("emulator/uploaded", "Uploaded model", "chat", 8, 32_768, 0.2, 0.2)


class _Minds:
    """The tuned models used last, ready to answer."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, str], TunedMind] = OrderedDict()

    def has(self, world: World, job_id: str) -> bool:
        return (str(world.folder), job_id) in self._kept

    def get(self, world: World, job_id: str, base: Mind) -> Mind:
        key = (str(world.folder), job_id)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = TunedMind(learned_examples(world, job_id), base)
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT_MINDS:
                self._kept.popitem(last=False)
            return self._kept[key]


_minds = _Minds()
