"""The base models of the emulator: names that read like the real catalogue's, with prices of the real order.

Prices and limits are the emulator's own choice. They are close to what the service has published, and nothing here
follows them when they change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["BASE_MODELS", "HARDWARE", "BaseModel", "Hardware", "base_model", "model_limits"]


@dataclass(frozen=True)
class BaseModel:
    """A model of the catalogue.

    Attributes:
        type: "chat", "language", "embedding", "rerank", "image", "video", "audio" (speaks) or "transcribe" (listens).
        billions: parameters in billions; sets the fine-tuning price.
        input: US dollars per million input tokens.
        output: US dollars per million output tokens.
        fine_tunable: whether fine-tuning takes it.
        serverless: whether it answers without a dedicated endpoint.
    """

    id: str
    display_name: str
    type: str
    billions: float
    context_length: int
    input: float
    output: float
    fine_tunable: bool = True
    serverless: bool = True
    license: str = "apache-2.0"

    @property
    def organization(self) -> str:
        return self.id.partition("/")[0]

    @property
    def short_name(self) -> str:
        return self.id.rpartition("/")[2]

    def info(self, created: int) -> dict[str, Any]:
        """The model as `GET /models` shows it."""
        return {
            "id": self.id,
            "object": "model",
            "created": created,
            "type": self.type,
            "display_name": self.display_name,
            "organization": self.organization,
            "link": f"https://huggingface.co/{self.id}",
            "license": self.license,
            "context_length": self.context_length,
            "pricing": {"hourly": 0, "input": self.input, "output": self.output, "base": 0, "finetune": 0},
        }


BASE_MODELS = {
    model.id: model
    for model in (
        BaseModel("Qwen/Qwen3.5-9B", "Qwen3.5 9B", "chat", 9, 131_072, 0.10, 0.15),
        BaseModel("Qwen/Qwen3-8B", "Qwen3 8B", "chat", 8, 40_960, 0.18, 0.18),
        BaseModel("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5 7B Instruct", "chat", 7, 32_768, 0.30, 0.30),
        BaseModel("Qwen/Qwen2.5-72B-Instruct", "Qwen2.5 72B Instruct", "chat", 72, 32_768, 1.20, 1.20),
        BaseModel(
            "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
            "Llama 3.1 8B Instruct Reference",
            "chat",
            8,
            16_384,
            0.20,
            0.20,
            license="llama-3.1",
        ),
        BaseModel(
            "meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 1B", "chat", 1, 131_072, 0.06, 0.06, license="llama-3.2"
        ),
        BaseModel(
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "Llama 3.3 70B Instruct Turbo",
            "chat",
            70,
            131_072,
            0.88,
            0.88,
            fine_tunable=False,
            license="llama-3.3",
        ),
        BaseModel(
            "meta-llama/Llama-3.3-70B-Instruct-Reference",
            "Llama 3.3 70B Instruct Reference",
            "chat",
            70,
            131_072,
            0.88,
            0.88,
            serverless=False,
            license="llama-3.3",
        ),
        BaseModel("google/gemma-3-4b-it", "Gemma 3 4B", "chat", 4, 131_072, 0.02, 0.04, license="gemma"),
        BaseModel("deepseek-ai/DeepSeek-V3.1", "DeepSeek V3.1", "chat", 671, 131_072, 0.60, 1.70, False, license="mit"),
        BaseModel("openai/gpt-oss-20b", "GPT-OSS 20B", "chat", 20, 131_072, 0.05, 0.20),
        BaseModel("mistralai/Mixtral-8x7B-v0.1", "Mixtral 8x7B", "language", 47, 32_768, 0.60, 0.60),
        BaseModel("BAAI/bge-base-en-v1.5", "BGE Base EN v1.5", "embedding", 0.1, 512, 0.01, 0, False, license="mit"),
        BaseModel("BAAI/bge-large-en-v1.5", "BGE Large EN v1.5", "embedding", 0.3, 512, 0.02, 0, False, license="mit"),
        BaseModel(
            "intfloat/multilingual-e5-large-instruct", "E5 Large", "embedding", 0.6, 514, 0.02, 0, False, license="mit"
        ),
        BaseModel(
            "togethercomputer/m2-bert-80M-8k-retrieval", "M2-BERT 8k Retrieval", "embedding", 0.1, 8_192, 0.01, 0, False
        ),
        BaseModel("Salesforce/Llama-Rank-V1", "Llama Rank V1", "rerank", 8, 8_192, 0.10, 0, False, license=""),
        BaseModel(
            "mixedbread-ai/Mxbai-Rerank-Large-V2", "Mxbai Rerank Large V2", "rerank", 1.6, 32_768, 0.10, 0, False
        ),
        BaseModel("black-forest-labs/FLUX.1-schnell", "FLUX.1 [schnell]", "image", 12, 0, 0, 0, False),
        BaseModel("black-forest-labs/FLUX.1-schnell-Free", "FLUX.1 [schnell] Free", "image", 12, 0, 0, 0, False),
        BaseModel("black-forest-labs/FLUX.1.1-pro", "FLUX1.1 [pro]", "image", 12, 0, 0, 0, False, license=""),
        BaseModel("minimax/video-01-director", "MiniMax Video 01 Director", "video", 0, 0, 0, 0, False, license=""),
        BaseModel("minimax/hailuo-02", "MiniMax Hailuo 02", "video", 0, 0, 0, 0, False, license=""),
        BaseModel("google/veo-2.0", "Veo 2", "video", 0, 0, 0, 0, False, license=""),
        BaseModel("hexgrad/Kokoro-82M", "Kokoro", "audio", 0.1, 0, 0, 0, False),
        BaseModel("cartesia/sonic", "Cartesia Sonic", "audio", 0, 0, 0, 0, False, license=""),
        BaseModel("cartesia/sonic-english", "Cartesia Sonic English", "audio", 0, 0, 0, 0, False, license=""),
        BaseModel("canopylabs/orpheus-3b-0.1-ft", "Orpheus 3B", "audio", 3, 0, 0, 0, False),
        BaseModel("openai/whisper-large-v3", "Whisper Large V3", "transcribe", 1.6, 0, 0, 0, False, license="mit"),
    )
}


def base_model(name: str) -> BaseModel | None:
    """The base model of this name, in any case of its letters."""
    return BASE_MODELS.get(name) or _BY_LOWER_NAME.get(name.lower())


_BY_LOWER_NAME = {name.lower(): model for name, model in BASE_MODELS.items()}


def model_limits(model: BaseModel) -> dict[str, Any]:
    """The bounds that fine-tuning sets for the model, as the API shows them."""
    large = model.billions > 32
    batches = {"min_batch_size": 8, "max_batch_size": 16 if large else 32, "max_batch_size_dpo": 8 if large else 16}
    return {
        "model_name": model.id,
        "full_training": batches,
        "lora_training": {
            **batches,
            "max_rank": 64,
            "default_rank": 16,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        },
        "max_num_epochs": 20,
        "max_num_evals": 100,
        "max_num_checkpoints": 20,
        "max_learning_rate": 1.0,
        "min_learning_rate": 1e-8,
        "min_max_seq_length": 512,
        "max_seq_length_sft": min(model.context_length, 32_768),
        "max_seq_length_dpo": min(model.context_length, 16_384),
        "default_gradient_accumulation_steps": 1,
        "supports_full_training": True,
        "supports_vision": False,
        "supports_tools": True,
        "supports_reasoning": model.id.startswith("Qwen/Qwen3"),
        "merge_output_lora": True,
    }


@dataclass(frozen=True)
class Hardware:
    """A machine that a dedicated endpoint can run on.

    Attributes:
        memory: gigabytes of one GPU.
        cents_per_minute: of one replica.
        availability: what the hardware list says of it when asked for a model that fits.
    """

    id: str
    gpu_type: str
    link: str
    memory: int
    count: int
    cents_per_minute: float
    availability: str = "available"

    def holds(self, model: BaseModel) -> bool:
        """Whether the weights fit, at two bytes a parameter and a fifth to spare."""
        return model.billions * 2 * 1.2 <= self.memory * self.count


HARDWARE = {
    hardware.id: hardware
    for hardware in (
        Hardware("1x_nvidia_a100_80gb_sxm", "a100-80gb", "sxm", 80, 1, 4.28),
        Hardware("2x_nvidia_a100_80gb_sxm", "a100-80gb", "sxm", 80, 2, 8.56),
        Hardware("1x_nvidia_h100_80gb_sxm", "h100-80gb", "sxm", 80, 1, 6.65),
        Hardware("2x_nvidia_h100_80gb_sxm", "h100-80gb", "sxm", 80, 2, 13.30),
        Hardware("4x_nvidia_h100_80gb_sxm", "h100-80gb", "sxm", 80, 4, 26.60),
        Hardware("8x_nvidia_h100_80gb_sxm", "h100-80gb", "sxm", 80, 8, 53.20, "insufficient"),
        Hardware("1x_nvidia_l40s_48gb_pcie", "l40s-48gb", "pcie", 48, 1, 3.50, "unavailable"),
        Hardware("8x_nvidia_h200_140gb_sxm", "h200-140gb", "sxm", 140, 8, 83.20),
    )
}
