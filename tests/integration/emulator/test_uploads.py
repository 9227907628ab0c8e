"""Files on the wire: announce, put, check; parts; ranges; and what is wrong with a file."""

from __future__ import annotations

import random
from typing import Any

import httpx2
import pytest

from .account import Account, checked, conversations, jsonl, sha256

CONTENT = jsonl(conversations(5))


def announce(account: Account, *, multipart: bool = True, **form: str) -> httpx2.Response:
    fields = {"purpose": "fine-tune", "file_name": "train.jsonl", "file_type": "jsonl"} | form
    if multipart:
        return account.http.post("/files", files={key: (None, value) for key, value in fields.items()})
    return account.http.post("/files", data=fields)


def put(account: Account, answer: httpx2.Response, content: bytes, **headers: str) -> httpx2.Response:
    return account.bare.put(answer.headers["location"], content=content, headers=headers)


@pytest.mark.parametrize("multipart", [True, False])
def test_an_announced_file_is_put_and_preprocessed(account: Account, multipart: bool) -> None:
    announced = announce(account, multipart=multipart, checksum=sha256(CONTENT))
    file_id = announced.headers["x-together-file-id"]

    assert announced.status_code == 302
    assert account.get("/files") == {"data": []}, "a promised file is not yet one of the account"
    assert put(account, announced, CONTENT).status_code == 200
    assert account.get(f"/files/{file_id}")["Processed"] is False
    account.http.post(f"/files/{file_id}/preprocess").raise_for_status()
    file = account.until(f"/files/{file_id}", checked)
    assert file | {"created_at": 0} == {
        "id": file_id,
        "object": "file",
        "created_at": 0,
        "filename": "train.jsonl",
        "bytes": len(CONTENT),
        "purpose": "fine-tune",
        "Processed": True,
        "FileType": "jsonl",
        "processing_status": "COMPLETED",
        "validation_report": file["validation_report"],
    }
    assert file["validation_report"]["nlines"] == 5
    assert account.get("/files")["data"] == [file]


def test_the_object_store_refuses_a_second_way_of_signing_in(account: Account) -> None:
    assert put(account, announce(account), CONTENT, Authorization="Bearer emulator-key").status_code == 400


def test_the_object_store_refuses_a_url_it_did_not_sign(account: Account) -> None:
    root = account.emulator.url.removesuffix("/v1")

    assert account.bare.put(f"{root}/_storage/forged", content=b"x").status_code == 403


def test_the_object_store_wants_to_know_the_length(account: Account) -> None:
    answer = account.bare.put(announce(account).headers["location"], content=iter([b"a", b"b"]))

    assert answer.status_code == 411


def test_bytes_that_are_not_the_announced_ones_are_refused(account: Account) -> None:
    announced = announce(account, checksum=sha256(CONTENT))

    assert put(account, announced, CONTENT[:-1]).status_code == 400
    assert account.get("/files") == {"data": []}
    assert put(account, announced, CONTENT).status_code == 200, "the same URL can be tried again"


def test_the_same_bytes_for_the_same_purpose_are_known_again(account: Account) -> None:
    known = account.upload(CONTENT, "fine-tune")

    again = announce(account, checksum=sha256(CONTENT))
    assert (again.status_code, again.json()["file_id"]) == (409, known["id"])
    assert announce(account, checksum=sha256(CONTENT), purpose="eval").status_code == 302


def test_a_file_that_was_never_put_is_not_known_again(account: Account) -> None:
    announce(account, checksum=sha256(CONTENT))

    assert announce(account, checksum=sha256(CONTENT)).status_code == 302


@pytest.mark.parametrize("form", [{"purpose": "nonsense"}, {"file_type": "exe"}, {"file_name": ""}])
def test_a_form_with_a_wrong_field_is_refused(account: Account, form: dict[str, str]) -> None:
    assert announce(account, **form).status_code == 400


def test_preprocessing_before_the_bytes_are_there_is_refused(account: Account) -> None:
    file_id = announce(account).headers["x-together-file-id"]

    assert account.http.post(f"/files/{file_id}/preprocess").status_code == 400


class TestParts:
    @staticmethod
    def initiate(account: Account, content: bytes, parts: int, **more: Any) -> Any:
        body = {
            "file_name": "big.jsonl",
            "file_size": len(content),
            "num_parts": parts,
            "purpose": "fine-tune",
            "file_type": "jsonl",
        }
        return account.post("/files/multipart/initiate", body | more)

    @staticmethod
    def put_parts(account: Account, upload: Any, content: bytes) -> list[dict[str, Any]]:
        size = -(-len(content) // len(upload["parts"]))
        sent = []
        for part in upload["parts"]:
            number = part["PartNumber"]
            answer = account.bare.put(part["URL"], content=content[(number - 1) * size : number * size])
            sent.append({"part_number": number, "etag": answer.headers["etag"].strip('"')})
        return sent

    def test_a_file_comes_in_parts_and_is_joined(self, account: Account) -> None:
        upload = self.initiate(account, CONTENT, 3, checksum=sha256(CONTENT))
        parts = self.put_parts(account, upload, CONTENT)
        body = {"upload_id": upload["upload_id"], "file_id": upload["file_id"], "parts": parts}

        joined = account.post("/files/multipart/complete", body)["file"]

        assert joined["bytes"] == len(CONTENT)
        assert account.until(f"/files/{joined['id']}", checked)["Processed"]
        assert account.http.get(f"/files/{joined['id']}/content").content == CONTENT

    @pytest.mark.parametrize("spoil", ["etag", "missing", "checksum"])
    def test_parts_that_do_not_fit_together_are_refused(self, account: Account, spoil: str) -> None:
        checksum = sha256(b"other") if spoil == "checksum" else sha256(CONTENT)
        upload = self.initiate(account, CONTENT, 2, checksum=checksum)
        parts = self.put_parts(account, upload, CONTENT)
        if spoil == "etag":
            parts[1]["etag"] = "0" * 32
        if spoil == "missing":
            parts.pop()
        body = {"upload_id": upload["upload_id"], "file_id": upload["file_id"], "parts": parts}

        assert account.http.post("/files/multipart/complete", json=body).status_code == 400
        assert account.get("/files") == {"data": []}

    def test_an_upload_that_is_given_up_is_gone(self, account: Account) -> None:
        upload = self.initiate(account, CONTENT, 2)
        body = {"upload_id": upload["upload_id"], "file_id": upload["file_id"]}

        account.post("/files/multipart/abort", body)

        assert account.http.get(f"/files/{upload['file_id']}").status_code == 404
        assert account.bare.put(upload["parts"][0]["URL"], content=b"x").status_code == 403


class TestContent:
    def test_content_is_read_whole_and_by_range(self, account: Account) -> None:
        content = random.Random(1).randbytes(100_000)
        file_id = account.upload(content, "batch-api")["id"]
        whole = account.http.get(f"/files/{file_id}/content")
        tail = account.http.get(f"/files/{file_id}/content", headers={"Range": "bytes=99990-"})
        past = account.http.get(f"/files/{file_id}/content", headers={"Range": "bytes=100000-"})

        assert whole.content == content
        assert whole.headers["content-length"] == "100000"
        assert (tail.status_code, tail.content) == (206, content[99990:])
        assert tail.headers["content-range"] == "bytes 99990-99999/100000"
        assert past.status_code == 416

    def test_a_deleted_file_is_gone(self, account: Account) -> None:
        file_id = account.training_file()

        assert account.http.delete(f"/files/{file_id}").json() == {"id": file_id, "deleted": True}
        assert account.http.get(f"/files/{file_id}").status_code == 404
        assert account.http.get(f"/files/{file_id}/content").status_code == 404
        assert account.http.delete(f"/files/{file_id}").status_code == 404

    def test_an_empty_file_is_refused(self, account: Account) -> None:
        form = {"purpose": "eval", "file_name": "a.jsonl"}

        assert account.http.post("/files/upload", data=form, files={"file": ("a", b"")}).status_code == 400
        assert account.http.post("/files/upload", data=form, files={"other": ("a", b"x")}).status_code == 400


GOOD = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "q"}]},
    "preferred_output": [{"role": "assistant", "content": "good"}],
    "non_preferred_output": [{"role": "assistant", "content": "bad"}],
}


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"text": "plain"}, "text"),
        (GOOD, "messages"),
        (GOOD | {"tools": [{"type": "function"}], "weight": 0.5}, "messages"),
        ({"prompt": "p", "completion": "c"}, "instruction"),
        (PREFERENCE, "preference"),
    ],
)
def test_each_training_format_is_told(account: Account, row: Any, format: str) -> None:
    report = account.upload(jsonl([row]), "fine-tune")["validation_report"]

    assert (report["valid"], report["dataset_format"]) == (True, format)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": []}, "not empty"),
        ({"question": "q"}, "no training format"),
        ({"text": "t", "extra": 1}, "no training format"),
        ({"messages": "q"}, "must be a list"),
        ({"prompt": "p", "completion": "c"}, "the lines before it have format messages"),
        ({"messages": [{"role": "user", "content": "q"}]}, "no assistant message"),
        ({"messages": [{"role": "robot", "content": "q"}]}, "role must be one of"),
        ({"messages": [GOOD["messages"][1]] * 2}, "two assistant messages in a row"),
        ({"messages": [{"role": "assistant", "content": "a", "weight": 2}]}, "weight must be 0 or 1"),
        ({"messages": [{"role": "assistant"}]}, "content must be"),
        (GOOD | {"weight": -1}, "at least 0"),
        ("text", "not a valid JSON object"),
    ],
)
def test_a_bad_training_line_is_named(account: Account, row: Any, words: str) -> None:
    file = account.upload(jsonl([GOOD, GOOD, row]), "fine-tune")

    assert (file["processing_status"], file["Processed"]) == ("INVALID_FORMAT", False)
    assert file["validation_report"]["error_type"] == "INVALID_FORMAT"
    assert file["validation_report"]["error"].startswith("Line 3: ")
    assert words in file["validation_report"]["error"]


@pytest.mark.parametrize(
    ("content", "purpose", "name", "words"),
    [
        (b'{"a": 1}\n{"a": \xff}\n', "eval", "a.jsonl", "Line 2"),
        (b"\n \n", "eval", "a.jsonl", "no samples"),
        (b"a,b\n1,2\n3\n", "eval", "a.csv", "Line 3: 1 cells"),
        (b"text\nx\n", "fine-tune", "a.csv", "csv is allowed for purpose eval only"),
        (b"PAR1", "fine-tune", "a.parquet", "not read by the emulator"),
        (b"{}\n", "eval", "a.jsonl", "Line 1: the object is empty"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_told_why(
    account: Account, content: bytes, purpose: str, name: str, words: str
) -> None:
    file = account.upload(content, purpose, name)

    assert file["processing_status"] == "INVALID_FORMAT"
    assert words in file["validation_report"]["error"]


def test_a_text_that_is_no_string_is_named(account: Account) -> None:
    file = account.upload(jsonl([{"text": "t"}, {"text": 5}]), "fine-tune")

    assert file["validation_report"]["error"] == "Line 2: text must be a string."


def test_a_csv_for_evaluation_is_counted_in_rows(account: Account) -> None:
    file = account.upload(b'q,a\n"one\nline",1\ntwo,2\n', "eval", "a.csv")

    assert file["validation_report"]["nlines"] == 2
