"""The table of the API's contract: every operation's name, method and path, in the contract's order.

The names are ours (`group.function`); methods and paths are the API's. The groups and the order of `OPERATIONS` follow
from this table, so that reading them needs no other module.
"""

from __future__ import annotations

__all__ = ["CONTRACT", "GROUPS", "TABLE"]

_ROWS = """
deployments.list GET /deployments
deployments.create POST /deployments
deployments.delete DELETE /deployments/{id}
deployments.retrieve GET /deployments/{id}
deployments.update PATCH /deployments/{id}
deployments.logs GET /deployments/{id}/logs
deployments.list_secrets GET /deployments/secrets
deployments.create_secret POST /deployments/secrets
deployments.delete_secret DELETE /deployments/secrets/{id}
deployments.retrieve_secret GET /deployments/secrets/{id}
deployments.update_secret PATCH /deployments/secrets/{id}
deployments.download_file GET /deployments/storage/{filename}
deployments.list_volumes GET /deployments/storage/volumes
deployments.create_volume POST /deployments/storage/volumes
deployments.delete_volume DELETE /deployments/storage/volumes/{id}
deployments.retrieve_volume GET /deployments/storage/volumes/{id}
deployments.update_volume PATCH /deployments/storage/volumes/{id}
voices.list GET /voices
videos.retrieve GET /videos/{id}
videos.create POST /videos
chat.create POST /chat/completions
completions.create POST /completions
embeddings.create POST /embeddings
models.list GET /models
models.upload POST /models
jobs.retrieve GET /jobs/{jobId}
jobs.list GET /jobs
images.generate POST /images/generations
files.list GET /files
files.retrieve GET /files/{id}
files.delete DELETE /files/{id}
files.content GET /files/{id}/content
files.upload POST /files/upload
fine_tunes.create POST /fine-tunes
fine_tunes.list GET /fine-tunes
fine_tunes.estimate_price POST /fine-tunes/estimate-price
fine_tunes.retrieve GET /fine-tunes/{id}
fine_tunes.delete DELETE /fine-tunes/{id}
fine_tunes.list_events GET /fine-tunes/{id}/events
fine_tunes.list_checkpoints GET /fine-tunes/{id}/checkpoints
finetune.download GET /finetune/download
fine_tunes.cancel POST /fine-tunes/{id}/cancel
fine_tunes.list_supported_models GET /fine-tunes/models/supported
fine_tunes.model_limits GET /fine-tunes/models/limits
rerank.create POST /rerank
audio.create_speech POST /audio/speech
audio.connect_speech GET /audio/speech/websocket
audio.create_transcription POST /audio/transcriptions
audio.create_translation POST /audio/translations
compute.list_clusters GET /compute/clusters
compute.create_cluster POST /compute/clusters
compute.retrieve_cluster GET /compute/clusters/{cluster_id}
compute.update_cluster PUT /compute/clusters/{cluster_id}
compute.delete_cluster DELETE /compute/clusters/{cluster_id}
compute.list_regions GET /compute/regions
compute.list_volumes GET /compute/clusters/storage/volumes
compute.update_volume PUT /compute/clusters/storage/volumes
compute.create_volume POST /compute/clusters/storage/volumes
compute.retrieve_volume GET /compute/clusters/storage/volumes/{volume_id}
compute.delete_volume DELETE /compute/clusters/storage/volumes/{volume_id}
clusters.list_availability_zones GET /clusters/availability-zones
endpoints.list GET /endpoints
endpoints.create POST /endpoints
endpoints.retrieve GET /endpoints/{endpointId}
endpoints.update PATCH /endpoints/{endpointId}
endpoints.delete DELETE /endpoints/{endpointId}
hardware.list GET /hardware
tci.execute POST /tci/execute
tci.list_sessions GET /tci/sessions
batches.list GET /batches
batches.create POST /batches
batches.retrieve GET /batches/{id}
batches.cancel POST /batches/{id}/cancel
evaluation.create POST /evaluation
evaluation.list GET /evaluation
evaluation.list_models GET /evaluation/model-list
evaluation.retrieve GET /evaluation/{id}
evaluation.status GET /evaluation/{id}/status
realtime.connect GET /realtime
queue.cancel POST /queue/cancel
queue.metrics GET /queue/metrics
queue.status GET /queue/status
queue.submit POST /queue/submit
rl.list_sessions GET /rl/training-sessions
rl.create_session POST /rl/training-sessions
rl.retrieve_session GET /rl/training-sessions/{session_id}
rl.stop_session POST /rl/training-sessions/{session_id}/stop
rl.retrieve_forward_backward GET /rl/training-sessions/{session_id}/operations/forward-backward/{operation_id}
rl.retrieve_optim_step GET /rl/training-sessions/{session_id}/operations/optim-step/{operation_id}
rl.retrieve_sample GET /rl/training-sessions/{session_id}/operations/sample/{operation_id}
rl.forward_backward POST /rl/training-sessions/{session_id}/operations/forward-backward
rl.optim_step POST /rl/training-sessions/{session_id}/operations/optim-step
rl.sample POST /rl/training-sessions/{session_id}/operations/sample
rl.create_inference_checkpoint POST /rl/training-sessions/{session_id}/operations/inference-checkpoint
rl.retrieve_inference_checkpoint GET /rl/training-sessions/{session_id}/operations/inference-checkpoint/{operation_id}
rl.create_training_checkpoint POST /rl/training-sessions/{session_id}/operations/training-checkpoint
rl.retrieve_training_checkpoint GET /rl/training-sessions/{session_id}/operations/training-checkpoint/{operation_id}
rl.download_checkpoint GET /rl/checkpoints/{id}/download
"""


def _parse(rows: str) -> dict[str, tuple[str, str]]:
    table = {}
    for row in rows.split("\n"):
        if row:
            name, method, path = row.split()
            table[name] = (method, path)
    return table


#: Name of each operation of the contract -> (method, path).
TABLE = _parse(_ROWS)

#: The names of the contract's operations, in its order.
CONTRACT = tuple(TABLE)

#: The groups, in the order of the contract. A group is a module of this package.
GROUPS = tuple(dict.fromkeys(name.partition(".")[0] for name in TABLE))
