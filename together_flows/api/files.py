"""Files: datasets that fine-tuning, evaluation and batches read, and the results that they write.

`upload` is the contract's one-request form for small files. The flow for files of any size is `create` (which answers
with a signed address), a PUT of the bytes there, and `preprocess`; `Together.upload` does all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from together_flows.api._model import Answer, FileContent, Name, Nested, Request, Rows, Time
from together_flows.api._operation import Place, Reply, Wire, operation

Purpose = (
    Literal["fine-tune", "eval", "eval-sample", "eval-output", "eval-summary", "batch-generated", "batch-api"] | str
)
FileType = Literal["jsonl", "csv", "parquet"] | str


class File(Answer):
    """A stored file.

    Attributes:
        id: `file-…`.
        bytes: size.
        processed: whether the server has checked the file; `None` where it does not tell.
        processing_status: PENDING, QUEUED, RUNNING, COMPLETED, FAILED or INVALID_FORMAT; `None` for files that are not
            checked.
        validation_report: what the check found, such as `{"valid": false, "error": "…"}`.
    """

    id: str
    object: str = "file"
    created_at: Time = None
    filename: str = ""
    bytes: int | None = None
    purpose: Purpose = ""
    processed: bool | None = Field(default=None, alias="Processed")
    file_type: FileType | None = Field(default=None, alias="FileType")
    processing_status: str | None = None
    validation_report: dict[str, Any] | None = None


class FileList(Answer):
    """All files of the account; the API does not page them."""

    data: Rows[File]


class FileDeleted(Answer):
    """The answer to a deletion."""

    id: str
    deleted: bool = True


class UploadTarget(Answer):
    """Where the bytes of a new file go.

    Attributes:
        file_id: the id that the file has from now on.
        url: a signed address for one PUT. It works without a key, so no repr shows it.
    """

    file_id: str
    url: str = Field(repr=False)


class UploadPart(Answer):
    """One part of a multipart upload: its number, counted from 1, and the signed address of its PUT."""

    part_number: int = Field(alias="PartNumber")
    url: str = Field(validation_alias=AliasChoices("URL", "UploadURL", "url"), repr=False)
    headers: dict[str, str] = Field(default_factory=dict, alias="Headers", repr=False)


class MultipartUpload(Answer):
    """A started multipart upload."""

    upload_id: str
    file_id: str
    parts: Sequence[UploadPart]


class CompletedPart(Request):
    """A part that arrived: its number and the `ETag` that the store answered, without quotes."""

    part_number: int = Field(ge=1)
    etag: str


@operation("GET", "/files")
def list() -> FileList:
    """List the account's files, with the state of their checks. One call shows them all."""


@operation("GET", "/files/{id}")
def retrieve(id: str, /) -> File:
    """Read one file's metadata and the state of its check."""


@operation("DELETE", "/files/{id}")
def delete(id: str, /) -> FileDeleted:
    """Delete a file."""


@operation("GET", "/files/{id}/content", reply=Reply.BYTES)
def content(id: str, /) -> bytes:
    """Read a file's bytes. `Together.download` writes them to disk without holding them in memory."""


@operation("POST", "/files/upload", form=True)
def upload(
    *,
    file: Annotated[FileContent, Wire(Place.PART)],
    file_name: Name,
    purpose: Purpose,
    file_type: FileType = "jsonl",
) -> File:
    """Upload a small file in one request. `Together.upload` suits files of any size.

    Args:
        file: a path, an open binary file, or the bytes.
        file_name: name with a suffix; the server tells the type of the content by it.
        purpose: what the file is for.
        file_type: `jsonl`, `csv` or `parquet`.
    """


@operation("POST", "/files", form=True, reply=Reply.REDIRECT, repeatable=True)
def create(
    *,
    file_name: Name,
    purpose: Purpose,
    file_type: FileType = "jsonl",
    checksum: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None,
) -> UploadTarget:
    """Ask for the address that a file's bytes go to.

    It creates nothing that costs money and may be repeated. Where a file of the same content exists already the API
    answers 409 with its `file_id`.

    Args:
        file_name: name with a suffix.
        purpose: what the file is for.
        file_type: `jsonl`, `csv` or `parquet`.
        checksum: SHA-256 of the content, in lower-case hexadecimal; the API finds an identical file by it.
    """


@operation("POST", "/files/{id}/preprocess", repeatable=True)
def preprocess(id: str, /) -> File:
    """Tell the API that the bytes have arrived, so that it checks the file."""


@operation("POST", "/files/multipart/initiate")
def initiate_multipart(
    *,
    file_name: Name,
    file_size: Annotated[int, Field(ge=1)],
    num_parts: Annotated[int, Field(ge=1, le=250)],
    purpose: Purpose,
    file_type: FileType = "jsonl",
    checksum: str | None = None,
) -> MultipartUpload:
    """Start an upload in parts, for files above 5 GiB.

    Args:
        file_name: name with a suffix.
        file_size: bytes in all.
        num_parts: parts, at most 250.
        purpose: what the file is for.
        file_type: `jsonl`, `csv` or `parquet`.
        checksum: SHA-256 of the whole content, in hexadecimal.
    """


@operation("POST", "/files/multipart/complete", repeatable=True)
def complete_multipart(*, upload_id: str, file_id: str, parts: Sequence[Nested[CompletedPart]]) -> dict[str, Any]:
    """Put the parts together. The answer is the file, either bare or under `file`.

    Args:
        upload_id: the upload.
        file_id: the file.
        parts: every part, with the tag that its PUT answered.
    """


@operation("POST", "/files/multipart/abort", repeatable=True)
def abort_multipart(*, upload_id: str, file_id: str) -> dict[str, Any]:
    """Give up a multipart upload and free its parts.

    Args:
        upload_id: the upload.
        file_id: the file.
    """
