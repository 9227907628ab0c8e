"""Money before it is spent: estimates that are never zero by accident, and the budget that stops."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import pytest

from together_flows.errors import BudgetExceeded, ConnectionFailed, TogetherError
from together_flows.jobs import KINDS, kind_named
from together_flows.jobs.pricing import (
    UNPRICED_BY_THE_HOUR,
    PriceEstimate,
    batch_price,
    check_budget,
    endpoint_price,
    fine_tune_price,
    hourly_usd,
)
from together_flows.jobs.steps import Log, Send, Sleep, Steps

TUNE = {"training_file": "file-1", "model": "m", "n_epochs": 2, "suffix": "mine", "validation_file": None}
SERVE = {"model": "m", "hardware": "1x", "autoscaling": {"min_replicas": 1, "max_replicas": 3}}


T = TypeVar("T")


class Answers:
    """Answers a flow's operations one after the other, and keeps what it asked, said and how long it slept."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[Any] = []
        self.said: list[str] = []
        self.slept = 0.0

    def drive(self, steps: Steps[T]) -> T:
        flow: Generator[Any, Any, T] = steps
        value: Any = None
        try:
            while True:
                step = flow.throw(value) if isinstance(value, Exception) else flow.send(value)
                value = None
                match step:
                    case Send(operation):
                        self.asked.append(operation)
                        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                        value = answer if isinstance(answer, Exception) else operation.parse(answer)
                    case Sleep(seconds):
                        self.slept += seconds
                    case Log(message):
                        self.said.append(message)
        except StopIteration as end:
            result: T = end.value
            return result


def estimated(**answer: Any) -> dict[str, Any]:
    return {
        "estimated_total_price": 12.5,
        "estimated_train_token_count": 900.0,
        "estimated_eval_token_count": 100.0,
        "allowed_to_proceed": True,
        "user_limit": 50.0,
        "estimation_available": True,
        **answer,
    }


NOT_YET = estimated(estimation_available=False, unavailable_reason="train_file_not_validated")


class TestFineTune:
    def test_the_api_counts_the_tokens_and_names_the_price(self) -> None:
        answers = Answers(estimated())
        price = answers.drive(fine_tune_price(TUNE))
        assert (price.usd, price.tokens, price.account_limit, price.allowed) == (12.5, 1_000, 50.0, True)
        assert "1000 tokens" in price.basis
        assert json.loads(json.dumps(price.to_dict()))["usd"] == 12.5
        assert answers.slept == 0

    def test_only_what_the_price_depends_on_is_asked_about(self) -> None:
        answers = Answers(estimated())
        answers.drive(fine_tune_price(TUNE))
        assert answers.asked[0].body == {"training_file": "file-1", "model": "m", "n_epochs": 2}

    def test_a_file_whose_check_is_under_way_is_waited_for(self) -> None:
        answers = Answers(NOT_YET, {**NOT_YET, "unavailable_reason": "eval_file_not_validated"}, estimated())
        assert answers.drive(fine_tune_price(TUNE)).usd == 12.5
        assert answers.slept == 4

    def test_a_check_that_does_not_end_is_not_waited_for_for_ever(self) -> None:
        answers = Answers(NOT_YET)
        with pytest.raises(TogetherError, match="train_file_not_validated"):
            answers.drive(fine_tune_price(TUNE))
        assert answers.slept == 120

    def test_that_there_is_no_estimate_is_an_error_at_once(self) -> None:
        answers = Answers(estimated(estimation_available=False, unavailable_reason="multimodal_dataset"))
        with pytest.raises(TogetherError, match="multimodal_dataset") as refused:
            answers.drive(fine_tune_price(TUNE))
        assert "Leave out the budget" in refused.value.mend
        assert answers.slept == 0

    def test_an_estimate_without_a_price_does_not_pass_for_free(self) -> None:
        with pytest.raises(TogetherError, match="no price"):
            Answers(estimated(estimated_total_price=None)).drive(fine_tune_price(TUNE))

    @pytest.mark.parametrize(("told", "allowed"), [(True, True), (None, True), (False, False)])
    def test_what_the_account_may_spend_counts(self, told: bool | None, allowed: bool) -> None:
        assert Answers(estimated(allowed_to_proceed=told)).drive(fine_tune_price(TUNE)).allowed is allowed

    def test_tokens_that_are_not_told_count_as_none(self) -> None:
        untold = estimated(estimated_train_token_count=None, estimated_eval_token_count=None)
        assert Answers(untold).drive(fine_tune_price(TUNE)).tokens == 0


class TestEndpoint:
    def price(self, spec: Mapping[str, Any], *, hours: float = 2.0, pricing: Any = None) -> PriceEstimate:
        row = {"id": "1x", "pricing": pricing or {"cents_per_minute": 5.0}}
        return Answers({"data": [{"id": "0x", "pricing": {"cents_per_minute": 1.0}}, row]}).drive(
            endpoint_price(spec, hours=hours)
        )

    def test_all_replicas_are_paid_for_the_whole_time(self) -> None:
        price = self.price(SERVE)
        assert price.usd == pytest.approx(0.05 * 60 * 2 * 3)
        assert price.basis == "3 replica(s) of 1x at 5.0 cents a minute for 2 h"

    @pytest.mark.parametrize("autoscaling", [None, {}, {"min_replicas": 1}])
    def test_one_replica_is_counted_where_none_are_named(self, autoscaling: Any) -> None:
        assert self.price({**SERVE, "autoscaling": autoscaling}, hours=1).usd == pytest.approx(3.0)

    def test_hardware_that_the_model_cannot_have_is_refused_with_what_it_can(self) -> None:
        with pytest.raises(TogetherError, match="'9x' is no hardware") as refused:
            self.price({**SERVE, "hardware": "9x"})
        assert "0x, 1x" in refused.value.mend

    def test_hardware_without_a_price_does_not_pass_for_free(self) -> None:
        with pytest.raises(TogetherError, match="no price"):
            self.price(SERVE, pricing={"cents_per_minute": None})


def served(state: str = "STARTED", **row: Any) -> tuple[str, dict[str, Any]]:
    return "endpoint", {"id": "e", "state": state, "hardware": "1x", "autoscaling": {"min_replicas": 2}, **row}


class TestByTheHour:
    LIST: Mapping[str, Any] = {
        "data": [{"id": "1x", "pricing": {"cents_per_minute": 5.0}}, {"id": "unpriced", "pricing": None}]
    }

    def test_one_request_tells_the_price_of_every_endpoint(self) -> None:
        answers = Answers(self.LIST)
        jobs = [served(), served(autoscaling={"min_replicas": 1, "max_replicas": 9}), served("STARTING")]
        assert answers.drive(hourly_usd(jobs)) == pytest.approx([6.0, 3.0, 6.0])
        assert len(answers.asked) == 1

    def test_what_has_stopped_or_never_worked_costs_nothing_and_needs_no_request(self) -> None:
        answers = Answers(self.LIST)
        assert answers.drive(hourly_usd([served("STOPPED"), served("ERROR"), served("FAILED")])) == [0.0, 0.0, 0.0]
        assert answers.asked == []

    @pytest.mark.parametrize("row", [{"hardware": "unpriced"}, {"hardware": "9x"}, {"hardware": None}])
    def test_hardware_without_a_price_is_not_known_rather_than_free(self, row: dict[str, Any]) -> None:
        assert Answers(self.LIST).drive(hourly_usd([served(**row)])) == [None]

    def test_prices_that_cannot_be_read_are_not_known_and_the_log_says_why(self) -> None:
        answers = Answers(ConnectionFailed("The line is dead."))
        assert answers.drive(hourly_usd([served(), served("STOPPED")])) == [None, 0.0]
        assert "The line is dead." in answers.said[0]

    def test_kinds_that_the_api_has_no_price_for_are_not_asked_for(self) -> None:
        answers = Answers(self.LIST)
        others = [kind for kind in KINDS if kind != "endpoint"]
        assert answers.drive(hourly_usd([(kind, {"id": "x"}) for kind in others])) == [None] * len(others)
        assert answers.asked == []

    def test_each_kind_that_bills_until_it_is_stopped_has_a_price_or_words_for_its_lack(self) -> None:
        billing = {name for name in KINDS if kind_named(name).bills_until_stopped}
        assert billing - {"endpoint"} <= set(UNPRICED_BY_THE_HOUR)


class TestBatch:
    LIST = (
        {"id": "a", "pricing": {"input": 1.0, "output": 10.0}},
        {"id": "b", "pricing": {"input": 4.0}},
        {"id": "free", "pricing": {"input": 0, "output": 0}},
        {"id": "unpriced"},
    )

    def price(self, prompts: Mapping[str, int], answers: Mapping[str, int]) -> PriceEstimate:
        return Answers(list(self.LIST)).drive(batch_price(prompts, output_tokens_by_model=answers))

    def test_prompts_and_answers_are_paid_at_their_models_prices(self) -> None:
        price = self.price({"a": 1_000_000, "b": 500_000}, {"a": 200_000, "b": 100})
        assert price.usd == pytest.approx(1.0 + 2.0 + 2.0)
        assert price.tokens == 1_700_100
        assert "at most 1700100 tokens" in price.basis

    def test_answers_of_a_model_without_prompts_are_paid_too(self) -> None:
        assert self.price({}, {"a": 100_000}).usd == pytest.approx(1.0)

    @pytest.mark.parametrize("model", ["unpriced", "not listed"])
    def test_a_model_without_a_list_price_is_named(self, model: str) -> None:
        price = self.price({"a": 1_000_000, model: 5}, {})
        assert price.usd == pytest.approx(1.0)
        assert f"{model} has no list price" in price.basis

    def test_a_model_that_is_free_is_not_named(self) -> None:
        price = self.price({"free": 5}, {"free": 5})
        assert price.usd == 0
        assert "no list price" not in price.basis


class TestBudget:
    PRICE = PriceEstimate(usd=12.5, basis="1000 tokens")

    @pytest.mark.parametrize("budget", [None, 12.5, 100.0])
    def test_what_the_budget_covers_passes(self, budget: float | None) -> None:
        check_budget(self.PRICE, budget)

    @pytest.mark.parametrize("budget", [12.49, 1.0, 0.0])
    def test_what_it_does_not_cover_stops_before_anything_is_submitted(self, budget: float) -> None:
        with pytest.raises(BudgetExceeded, match=r"\$12\.50 \(1000 tokens\).*Nothing was submitted") as exceeded:
            check_budget(self.PRICE, budget)
        assert (exceeded.value.estimate, exceeded.value.budget) == (12.5, budget)

    @pytest.mark.parametrize(("limit", "said"), [(10.0, "$10.00"), (None, "$0.00")])
    def test_what_the_account_may_not_spend_stops_as_well(self, limit: float | None, said: str) -> None:
        price = PriceEstimate(usd=12.5, basis="", account_limit=limit, allowed=False)
        with pytest.raises(BudgetExceeded) as exceeded:
            check_budget(price, None)
        assert said in str(exceeded.value)
        assert (exceeded.value.estimate, exceeded.value.budget) == (12.5, limit or 0.0)
