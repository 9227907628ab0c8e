"""Secret arguments of operators: hidden from the serialized DAG, from rendered templates and from logs, until used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

__all__ = ["SECRET_ARGUMENTS", "HidingOperator", "SecretField", "revealed"]

#: What the API calls the arguments that hold a secret, at any depth. ``value`` is one only where it stands at the top,
#: as in ``deployments.create_secret``, or in an environment variable.
SECRET_ARGUMENTS = frozenset({"external_api_token", "hf_api_token", "hf_token", "wandb_api_key"})
_VARIABLES = "environment_variables"


class _Hidden:
    """Text that nothing shows by accident: not a repr, and so neither a serialized DAG nor a rendered template."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "***"


class SecretField:
    """
    An attribute of an operator that hides what is secret in its value.

    :param hide: hides it; by default every text in the value is secret.
    """

    def __init__(self, hide: Callable[[Any], Any] | None = None) -> None:
        self._hide = hide or _hidden

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return self if instance is None else getattr(instance, self._name)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self._name, self._hide(value))

    @classmethod
    def within(cls) -> SecretField:
        """For a value of the API's own shape: secret is what the API takes for a secret."""
        return cls(_hidden_within)

    @classmethod
    def of_arguments(cls) -> SecretField:
        """For all arguments of an operation, by name."""
        return cls(_hidden_in_arguments)

    @classmethod
    def of_variables(cls) -> SecretField:
        """For environment variables: secret is the value of each."""
        return cls(_hidden_in_variables)


class HidingOperator(BaseOperator):
    """An operator with secret fields. They are templates like any other, and stay hidden when they are rendered."""

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a template, also one that is hidden. From then on Airflow masks its text wherever it may appear."""
        if not isinstance(content, _Hidden):
            return super().render_template(content, context, jinja_env, seen_oids)
        rendered = _hidden(super().render_template(content.text, context, jinja_env, seen_oids))
        if isinstance(rendered, _Hidden):
            _mask_everywhere(rendered.text)
        return rendered


def revealed(value: Any) -> Any:
    """
    The value with its secrets in clear, for the moment in which it is sent.

    :param value: what a secret field holds.
    """
    if isinstance(value, _Hidden):
        return value.text
    if isinstance(value, Mapping):
        return {key: revealed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [revealed(item) for item in value]
    return value


def _mask_everywhere(text: str) -> None:
    from airflow.sdk.log import mask_secret

    from together_flows.client import forms_of

    for form in sorted((forms_of(text) | forms_of(text.strip())) - {""}):
        mask_secret(form)


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return _Hidden(value)
    if isinstance(value, Mapping):
        return {key: _hidden(item) for key, item in value.items()}
    return [_hidden(item) for item in value] if isinstance(value, list | tuple) else value


def _hidden_within(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hidden_under(key, item) for key, item in value.items()}
    return [_hidden_within(item) for item in value] if isinstance(value, list | tuple) else value


def _hidden_under(key: Any, value: Any) -> Any:
    if key in SECRET_ARGUMENTS:
        return _hidden(value)
    return _hidden_in_variables(value) if key == _VARIABLES else _hidden_within(value)


def _hidden_in_arguments(arguments: Any) -> Any:
    hidden = _hidden_within(arguments)
    if isinstance(hidden, dict) and "value" in hidden:
        hidden["value"] = _hidden(hidden["value"])
    return hidden


def _hidden_in_variables(variables: Any) -> Any:
    if not isinstance(variables, list | tuple):
        return variables
    return [
        {**variable, "value": _hidden(variable["value"])}
        if isinstance(variable, Mapping) and "value" in variable
        else variable
        for variable in variables
    ]
