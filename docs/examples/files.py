"""Files: datasets that fine-tuning, evaluation and batches read, and the results that they write.

`client.upload(path, purpose=…)` does all that is needed for a file of any size, and `client.download(…)` writes one to
disk; the operations are what they are made of. See [the client](../client.md).
"""

# %% preparation
from pathlib import Path

import httpx2

from together_flows import Together
from together_flows.api import files

client = Together()
content = b'{"text": "Parcel 1 waits in depot 1."}\n'
Path("train.jsonl").write_bytes(content)

# %% files.upload
file = client.send(files.upload(file=Path("train.jsonl"), file_name="train.jsonl", purpose="fine-tune"))

# %% files.list
names = [file.filename for file in client.send(files.list()).data]

# %% files.retrieve
file = client.send(files.retrieve(file.id))

# %% files.content
whole = client.send(files.content(file.id))  # in memory
path = client.download(files.content(file.id), "copy.jsonl")  # on disk, of any size

# %% files.delete
client.send(files.delete(file.id))

# %% files.create
target = client.send(files.create(file_name="train.jsonl", purpose="fine-tune"))
httpx2.put(target.url, content=content).raise_for_status()

# %% files.preprocess
file = client.send(files.preprocess(target.file_id))

# %% files.initiate_multipart
upload = client.send(
    files.initiate_multipart(file_name="big.jsonl", file_size=len(content), num_parts=1, purpose="fine-tune")
)
[part] = upload.parts
answer = httpx2.put(part.url, content=content, headers=part.headers).raise_for_status()

# %% files.complete_multipart
parts = [{"part_number": part.part_number, "etag": answer.headers["ETag"].strip('"')}]
client.send(files.complete_multipart(upload_id=upload.upload_id, file_id=upload.file_id, parts=parts))

# %% files.abort_multipart
upload = client.send(
    files.initiate_multipart(file_name="big.jsonl", file_size=len(content), num_parts=1, purpose="fine-tune")
)
client.send(files.abort_multipart(upload_id=upload.upload_id, file_id=upload.file_id))
