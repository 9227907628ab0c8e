"""The two bases of every shape on the wire: `Request` for what we send, `Answer` for what comes back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticUseDefault, ValidationError
from pydantic_core.core_schema import ValidationInfo


class Request(BaseModel):
    """A nested argument. It is checked before it is sent; fields that are not declared here pass through unchecked."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())


class Answer(BaseModel):
    """What the API answers. Only ids and statuses are required; everything else is taken as it comes.

    Fields that are not declared are kept (`answer.model_extra`). A declared field that arrives as another type than
    expected is kept as it was sent: a surprise in a detail must not break a pipeline that does not look at it.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())

    @field_validator("*", mode="wrap")
    @classmethod
    def _keep_surprises(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return handler(value)
        except ValidationError:
            field = cls.model_fields.get(info.field_name or "")
            if field is None or field.is_required():
                raise
            if value is None:
                raise PydanticUseDefault from None
            return value
