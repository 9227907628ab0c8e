"""Money before it is spent: what a job will cost, and the budget that stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from together_flows.api import fine_tunes, hardware, models
from together_flows.errors import BudgetExceeded, TogetherError
from together_flows.jobs.model import Row, Spec
from together_flows.jobs.steps import Log, Send, Sleep, Steps

__all__ = [
    "UNPRICED_BY_THE_HOUR",
    "PriceEstimate",
    "batch_price",
    "check_budget",
    "endpoint_price",
    "fine_tune_price",
    "hourly_usd",
    "total_price",
]

#: What bills until it is stopped and has no price in the API, by kind, and what a person must know instead.
UNPRICED_BY_THE_HOUR: Mapping[str, str] = {
    "deployment": "The API lists no price of containers; Together's price page has it, by GPU and replica.",
    "cluster": "The API lists no price of clusters; Together's price page has it, by GPU.",
    "shared_volume": "The API lists no price of volumes; Together's price page has it, by TiB.",
    "rl_session": "The API lists no price of training sessions; ask Together for yours.",
}

_ESTIMATED_FROM = (
    "training_file",
    "validation_file",
    "model",
    "n_epochs",
    "n_evals",
    "training_method",
    "training_type",
    "from_checkpoint",
)
_NOT_YET = ("train_file_not_validated", "eval_file_not_validated")
_ENDPOINT_COSTS_NOTHING = ("STOPPED", "ERROR", "FAILED")
_LOOKS = 60
_PAUSE = 2.0


@dataclass(frozen=True)
class PriceEstimate:
    """What a job is expected to cost.

    Attributes:
        usd: US dollars.
        basis: what the price was computed from, in words.
        tokens: tokens that are paid for, where that is what is paid for.
        account_limit: what the account may spend, in US dollars, where the API tells.
        allowed: whether the account may spend this.
    """

    usd: float
    basis: str
    tokens: int | None = None
    account_limit: float | None = None
    allowed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)


def total_price(estimates: Sequence[PriceEstimate]) -> PriceEstimate:
    """What several jobs are expected to cost together, on the basis of the first."""
    if len(estimates) == 1:
        return estimates[0]
    return PriceEstimate(
        usd=sum(estimate.usd for estimate in estimates),
        basis=f"{len(estimates)} jobs; " + estimates[0].basis,
        account_limit=min((e.account_limit for e in estimates if e.account_limit is not None), default=None),
        allowed=all(estimate.allowed for estimate in estimates),
    )


def fine_tune_price(spec: Spec) -> Steps[PriceEstimate]:
    """Steps that ask the API what a fine-tuning job will cost. A file whose check is under way is waited for.

    Args:
        spec: arguments of `fine_tunes.create`.

    Raises:
        TogetherError: the API gives no estimate, and says why.
    """
    arguments = {name: spec[name] for name in _ESTIMATED_FROM if spec.get(name) is not None}
    for _ in range(_LOOKS):
        answer = yield Send(fine_tunes.estimate_price(**arguments))
        if answer.estimation_available is not False:
            if answer.estimated_total_price is None:
                raise _no_price("The API's estimate has no price.")
            tokens = int((answer.estimated_train_token_count or 0) + (answer.estimated_eval_token_count or 0))
            return PriceEstimate(
                usd=float(answer.estimated_total_price),
                basis=f"{tokens} tokens, counted by the API",
                tokens=tokens,
                account_limit=answer.user_limit,
                allowed=answer.allowed_to_proceed is not False,
            )
        if answer.unavailable_reason not in _NOT_YET:
            break
        yield Log("The price is not known yet, because the file is still being checked.", "info")
        yield Sleep(_PAUSE)
    raise _no_price(f"The API gives no price estimate: {answer.unavailable_reason}.")


def endpoint_price(spec: Spec, *, hours: float) -> Steps[PriceEstimate]:
    """Steps that compute what a dedicated endpoint costs when all its replicas serve for so many hours.

    Args:
        spec: arguments of `endpoints.create`.
        hours: how long it will run.

    Raises:
        TogetherError: the API lists no such hardware for the model, or no price of it.
    """
    answer = yield Send(hardware.list(model=spec["model"]))
    prices = {item.id: (item.pricing or {}) for item in answer.data}
    wanted = spec["hardware"]
    if wanted not in prices:
        raise TogetherError(
            f"{wanted!r} is no hardware for {spec['model']!r}.",
            mend=f"Use one of {', '.join(sorted(prices)) or 'none'}.",
        )
    cents = _get(prices[wanted], "cents_per_minute")
    if cents is None:
        raise _no_price(f"The API tells no price of {wanted!r}.")
    replicas = int(_get(spec.get("autoscaling") or {}, "max_replicas") or 1)
    usd = _usd_an_hour(cents, replicas) * hours
    return PriceEstimate(usd, f"{replicas} replica(s) of {wanted} at {cents} cents a minute for {hours:g} h")


def hourly_usd(jobs: Sequence[tuple[str, Row]]) -> Steps[list[float | None]]:
    """Steps that tell what running jobs cost by the hour. At most one request serves them all.

    An endpoint is priced with the fewest replicas that it keeps, which is what one that nobody uses costs: the API does
    not tell how many serve at present.

    Args:
        jobs: of each job its kind's name and its full row, as the kind's `read` answers it.

    Returns:
        US dollars an hour for each job, in their order. `None` is "not known": the kind is paid for in another way, or
        the API lists no price of it (`UNPRICED_BY_THE_HOUR` has the words), or would not tell it now.
    """
    cents: Mapping[str, float | None] = {}
    if any(kind == "endpoint" and _serves(row) for kind, row in jobs):
        cents = yield from _cents_by_hardware()
    return [_endpoint_usd_an_hour(row, cents) if kind == "endpoint" else None for kind, row in jobs]


def batch_price(
    tokens_by_model: Mapping[str, int], *, output_tokens_by_model: Mapping[str, int]
) -> Steps[PriceEstimate]:
    """Steps that estimate a batch by the models' list prices. The batch discount is not counted.

    What has no list price, such as a dedicated endpoint, which bills by the minute, is not counted and is named.

    Args:
        tokens_by_model: prompt tokens for each model.
        output_tokens_by_model: tokens that may be answered, at most, for each model.
    """
    catalogue = {item.id: (item.pricing or {}) for item in (yield Send(models.list()))}
    usd, unpriced = 0.0, []
    for model in sorted({*tokens_by_model, *output_tokens_by_model}):
        per_million = [_get(catalogue.get(model, {}), name) for name in ("input", "output")]
        if per_million == [None, None]:
            unpriced.append(f"; {model} has no list price")
        for tokens_of, price in zip((tokens_by_model, output_tokens_by_model), per_million, strict=True):
            usd += tokens_of.get(model, 0) * (price or 0.0) / 1_000_000
    total = sum(tokens_by_model.values()) + sum(output_tokens_by_model.values())
    return PriceEstimate(usd, f"at most {total} tokens at list price{''.join(unpriced)}", tokens=total)


def check_budget(estimate: PriceEstimate, budget: float | None) -> None:
    """Stop before money is spent.

    Args:
        estimate: what the job will cost.
        budget: what it may cost, in US dollars; `None` for no limit of ours.

    Raises:
        BudgetExceeded: it would cost more, or more than the account may spend.
    """
    if budget is not None and estimate.usd > budget:
        raise BudgetExceeded(
            f"The job is estimated at ${estimate.usd:.2f} ({estimate.basis}), above the budget of ${budget:.2f}. "
            "Nothing was submitted.",
            estimate=estimate.usd,
            budget=budget,
            mend="Raise the budget, or train on fewer rows or epochs.",
        )
    if not estimate.allowed:
        limit = estimate.account_limit or 0.0
        raise BudgetExceeded(
            f"The job is estimated at ${estimate.usd:.2f}, and the account may spend ${limit:.2f}. "
            "Nothing was submitted.",
            estimate=estimate.usd,
            budget=limit,
            mend="Add credit to the Together account.",
        )


def _no_price(problem: str) -> TogetherError:
    """What to raise instead of an estimate of nothing, which every budget would cover."""
    return TogetherError(problem, mend="Leave out the budget to go on without knowing the price.")


def _cents_by_hardware() -> Steps[Mapping[str, float | None]]:
    """Cents for a minute of one replica, by hardware; nothing where the API does not answer: a price is only told."""
    try:
        answer = yield Send(hardware.list())
    except TogetherError as error:
        yield Log(f"The prices of hardware cannot be read now: {error}", "warning")
        return {}
    return {item.id: _get(item.pricing or {}, "cents_per_minute") for item in answer.data}


def _endpoint_usd_an_hour(row: Row, cents_by_hardware: Mapping[str, float | None]) -> float | None:
    if not _serves(row):
        return 0.0
    cents = cents_by_hardware.get(str(row.get("hardware")))
    return None if cents is None else _usd_an_hour(cents, _fewest_replicas(row))


def _serves(row: Row) -> bool:
    return str(row.get("state")).upper() not in _ENDPOINT_COSTS_NOTHING


def _fewest_replicas(endpoint: Row) -> int:
    fewest = _get(endpoint.get("autoscaling") or {}, "min_replicas")
    return 1 if fewest is None else int(fewest)


def _usd_an_hour(cents_per_minute: float, replicas: int) -> float:
    return cents_per_minute / 100 * 60 * replicas


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
