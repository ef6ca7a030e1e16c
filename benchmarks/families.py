"""The architectures that `benchmarks/architectures.py` reads, small and at their own sizes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import handwritten
from benchmarks.noise import WORDS

SIZES = ("small", "own")


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        name: Of its classes in `transformers`, as "Bert", or of a class in `handwritten`.
        head: What follows: "ForSequenceClassification".
        kind: Of its batch, a name in `noise.BATCHES`.
        small: Changes of the configuration for the small size.
        own: Changes for its own size: only what memory and time demand.
    """

    name: str
    head: str
    kind: str
    small: dict[str, Any]
    own: dict[str, Any]


ENCODER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
DECODER = {**ENCODER, "num_key_value_heads": 2, "head_dim": 8}
# the published widths need 20 GB and more: half of them, and two layers
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
SPEECH = {
    **ENCODER,
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 4, 4),
    "conv_kernel": (10, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
PATCHES = {**ENCODER, "image_size": 32, "patch_size": 8}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}

WINDOWS = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4}


def families() -> Iterator[Family]:
    for name in ("ViT", "DeiT", "ViTMSN", "Beit", "Data2VecVision", "Dinov2", "Dinov2WithRegisters", "IJepa"):
        yield Family(name, "ForImageClassification", "image", PATCHES, {})
    for name, small in (
        ("Swin", WINDOWS),
        ("Swinv2", WINDOWS),
        ("ConvNext", {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]}),
        ("ConvNextV2", {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]}),
        ("FocalNet", {"image_size": 32, "embed_dim": 16, "depths": [1, 1, 2, 1]}),
        ("PoolFormer", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]}),
        ("RegNet", {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1], "groups_width": 8}),
        ("Bit", {"embedding_size": 32, "hidden_sizes": [32, 64, 64, 64], "depths": [1, 1, 2, 1], "num_groups": 4}),
        ("EfficientNet", {"width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320}),
        ("MobileNetV1", {"depth_multiplier": 0.25}),
        ("MobileNetV2", {"depth_multiplier": 0.35}),
        (
            "MobileViT",
            {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64], "num_attention_heads": 2},
        ),
        ("MobileViTV2", {"base_attn_unit_dims": [32, 48, 64], "width_multiplier": 0.5}),
        (
            "Levit",
            {"hidden_sizes": [32, 48, 64], "depths": [1, 1, 1], "key_dim": [8, 8, 8], "num_attention_heads": [2, 3, 4]},
        ),
        ("Segformer", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32}),
        (
            "Pvt",
            {
                "hidden_sizes": [8, 16, 24, 32],
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 3, 4],
                "image_size": 64,
            },
        ),
        (
            "PvtV2",
            {
                "hidden_sizes": [8, 16, 24, 32],
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 3, 4],
                "image_size": 64,
            },
        ),
        ("Cvt", {"depth": [1, 1, 2]}),
        ("SwiftFormer", {"embed_dims": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}),
        ("HGNetV2", {}),
        ("TextNet", {}),
    ):
        # at 600 pixels and the depth of its largest model EfficientNet takes 12 GB
        own = {
            "EfficientNet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "image_size": 224, "hidden_dim": 1280},
            "TextNet": {"image_size": 224},
        }.get(name, {})
        yield Family(name, "ForImageClassification", "image", small, own)
    yield Family(
        "Yolos",
        "Model",
        "pixels",
        {**PATCHES, "image_size": [32, 32], "num_detection_tokens": 6},
        {"image_size": [224, 224]},
    )
    yield Family(
        "Segformer",
        "ForSemanticSegmentation",
        "mask",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32},
        {},
    )
    yield Family(
        "ViTMAE",
        "ForPreTraining",
        "pixels",
        {
            **PATCHES,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 2,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
        {},
    )
    yield Family(
        "VideoMAE",
        "ForVideoClassification",
        "video",
        {**PATCHES, "num_frames": 4},
        {"num_hidden_layers": 6, "num_frames": 4},
    )
    for name in (
        "Bert",
        "Roberta",
        "Albert",
        "Electra",
        "Deberta",
        "DebertaV2",
        "FNet",
        "Longformer",
        "XLMRoberta",
        "MPNet",
        "Camembert",
        "RoFormer",
        "MegatronBert",
        "LayoutLM",
        "ConvBert",
        "SqueezeBert",
        "Nystromformer",
        "MobileBert",
        "RemBert",
        "Ernie",
        "Esm",
        "Mra",
        "Yoso",
        "IBert",
        "ModernBert",
        "BigBird",
        "RobertaPreLayerNorm",
        "XLMRobertaXL",
        "EuroBert",
        "Data2VecText",
    ):
        small = {"embedding_size": 32} if name in ("Albert", "Electra", "RoFormer", "ConvBert", "MobileBert") else {}
        yield Family(name, "ForSequenceClassification", "text", {**ENCODER, **small, **_odd(name)}, _odd_own(name))
    yield Family(
        "Funnel",
        "ForSequenceClassification",
        "text",
        {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]},
        {},
    )
    yield Family("Bert", "ForMaskedLM", "language", ENCODER, {})
    yield Family("Roberta", "ForMaskedLM", "language", ENCODER, {})
    yield Family(
        "XLNet",
        "ForSequenceClassification",
        "text",
        {"d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 64},
        {"n_layer": 12},
    )
    for name in ("DistilBert", "Flaubert", "XLM"):
        small = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "emb_dim": 32}
        yield Family(name, "ForSequenceClassification", "text", small, {"n_layers": 6})
    for name in ("GPT2", "GPTNeoX", "GPTJ", "GPTBigCode", "CodeGen", "OpenAIGPT", "CTRL"):
        small = {"n_layer": 4, "n_embd": 32, "n_head": 4, "rotary_dim": 4, "dff": 64}
        if name == "GPTNeoX":
            small = ENCODER
        own = {
            "CTRL": {"n_layer": 12, "dff": 4096},
            "GPTJ": {"n_embd": 1024, "n_layer": 12},
            "GPTNeoX": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 12,
                "num_attention_heads": 16,
            },
            "CodeGen": {"n_embd": 1024, "n_layer": 12},
        }.get(name, {})
        head = "ForCausalLM" if name in ("GPTNeoX", "GPTJ", "GPTBigCode", "CodeGen") else "LMHeadModel"
        yield Family(name, head, "language", small, own)
    yield Family(
        "GPTNeo",
        "ForCausalLM",
        "language",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        {"hidden_size": 1024, "num_layers": 8, "attention_types": [[["global", "local"], 4]]},
    )
    yield Family("OPT", "ForCausalLM", "language", {**ENCODER, "ffn_dim": 64, "word_embed_proj_dim": 32}, {})
    yield Family(
        "Bloom",
        "ForCausalLM",
        "language",
        {"hidden_size": 32, "n_layer": 3, "n_head": 4},
        {"hidden_size": 1024, "n_layer": 12, "n_head": 16},
    )
    for name in (
        "Llama",
        "Mistral",
        "Qwen2",
        "Qwen3",
        "Gemma",
        "Gemma2",
        "Phi",
        "Phi3",
        "StableLm",
        "Starcoder2",
        "Falcon",
        "Olmo",
        "Olmo2",
        "Cohere",
        "Granite",
        "Persimmon",
        "Helium",
        "SmolLM3",
        "Nemotron",
        "BioGpt",
        "Glm",
    ):
        small = {k: v for k, v in DECODER.items() if k != "head_dim" or name != "Falcon"}
        yield Family(name, "ForCausalLM", "language", small, LARGE)
    yield Family("Gemma3", "ForCausalLM", "language", DECODER, LARGE)
    for name in ("Mixtral", "Qwen2Moe", "Qwen3Moe", "Olmoe", "Phimoe"):
        yield Family(
            name,
            "ForCausalLM",
            "language",
            {**DECODER, **EXPERTS},
            {**LARGE, "num_hidden_layers": 2, **EXPERTS, "moe_intermediate_size": 512},
        )
    yield Family(
        "Mamba", "ForCausalLM", "language", {"hidden_size": 32, "num_hidden_layers": 3}, {"num_hidden_layers": 8}
    )
    yield Family(
        "Mamba2",
        "ForCausalLM",
        "language",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "state_size": 16,
            "chunk_size": 8,
        },
        {"hidden_size": 768, "num_heads": 24, "num_hidden_layers": 12, "n_groups": 1, "chunk_size": 8},
    )
    yield Family(
        "Rwkv",
        "ForCausalLM",
        "language",
        {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 3, "context_length": 64},
        {"hidden_size": 768, "num_hidden_layers": 12},
    )
    yield Family(
        "RecurrentGemma",
        "ForCausalLM",
        "language",
        {**DECODER, "lru_width": 32},
        {
            "hidden_size": 768,
            "num_attention_heads": 6,
            "lru_width": 768,
            "intermediate_size": 2304,
            "num_hidden_layers": 6,
        },
    )
    for name in ("T5", "MT5", "UMT5", "SwitchTransformers", "LongT5"):
        more = {"num_experts": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
        small = {**T5, **(more if name == "SwitchTransformers" else {})}
        own = {"num_experts": 2} if name == "SwitchTransformers" else {}
        yield Family(name, "ForConditionalGeneration", "translation", small, own)
    for name in ("Bart", "MBart", "Pegasus", "M2M100", "Blenderbot", "BlenderbotSmall", "LED", "PegasusX", "PLBart"):
        own = {"encoder_layers": 6, "decoder_layers": 6}
        own |= {
            "d_model": 1024,
            "encoder_ffn_dim": 4096,
            "decoder_ffn_dim": 4096,
            "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
        }
        yield Family(name, "ForConditionalGeneration", "translation", SEQ2SEQ, own)
    yield Family("Marian", "MTModel", "translation", SEQ2SEQ, {"encoder_layers": 6, "decoder_layers": 6})
    yield Family("FSMT", "ForConditionalGeneration", "translation", SEQ2SEQ, {"encoder_layers": 6, "decoder_layers": 6})
    for name in ("Wav2Vec2", "Hubert", "WavLM", "UniSpeechSat", "Data2VecAudio", "SEW", "Wav2Vec2Conformer"):
        small = {**SPEECH, "squeeze_factor": 1, "conv_pos_kernel_size": 5}
        yield Family(name, "ForSequenceClassification", "sound", small, {})
    yield Family("Wav2Vec2", "ForCTC", "speech", SPEECH, {})
    yield Family(
        "AST",
        "ForAudioClassification",
        "spectrum",
        {**ENCODER, "max_length": 64, "num_mel_bins": 32, "patch_size": 8, "time_stride": 8, "frequency_stride": 8},
        {"max_length": 256},
    )
    yield Family(
        "Whisper",
        "ForConditionalGeneration",
        "dictation",
        {**SEQ2SEQ, "num_mel_bins": 16, "max_source_positions": 32},
        {"max_source_positions": 200},
    )
    yield Family(
        "Speech2Text",
        "ForConditionalGeneration",
        "dictation",
        {**SEQ2SEQ, "input_feat_per_channel": 16, "conv_channels": 32},
        {},
    )
    parts = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    for name in ("CLIP", "Siglip", "AltCLIP", "ChineseCLIP", "Blip"):
        yield Family(
            name,
            "Model",
            "pairs",
            {
                "text_config": {**parts, "vocab_size": WORDS},
                "vision_config": {**parts, "image_size": 32, "patch_size": 8},
            },
            # Blip's first weights of 1e-10 need float64, and twice the memory
            {
                "text_config": {"vocab_size": WORDS, **({"num_hidden_layers": 2} if name == "Blip" else {})},
                "vision_config": {"num_hidden_layers": 2} if name == "Blip" else {},
            },
        )
    yield Family(
        "Perceiver",
        "ForSequenceClassification",
        "text",
        {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_self_attends_per_block": 2},
        {"num_latents": 128, "num_self_attends_per_block": 12},
    )
    yield Family("PatchTST", "ForPrediction", "series", {"d_model": 32, "num_hidden_layers": 2}, {})
    for name in handwritten.NETWORKS:
        yield Family(name, "", "image" if name not in handwritten.OF_WORDS else "words", {}, {})


def _odd(name: str) -> dict[str, Any]:
    return {
        "Longformer": {"attention_window": 4},
        "MobileBert": {"intra_bottleneck_size": 16, "true_hidden_size": 16, "num_attention_heads": 2},
        "RemBert": {"input_embedding_size": 16, "output_embedding_size": 16},
        "Esm": {"mask_token_id": 4, "position_embedding_type": "rotary"},
        "BigBird": {"attention_type": "original_full"},
        "Nystromformer": {"num_landmarks": 4, "segment_means_seq_len": 16},
        "Mra": {"block_per_row": 1, "approx_mode": "full"},
        "SqueezeBert": {"embedding_size": 32},
    }.get(name, {})


def _odd_own(name: str) -> dict[str, Any]:
    few = {"num_hidden_layers": 12}
    return {
        "Longformer": {"attention_window": 16},
        "Esm": {
            "mask_token_id": 4,
            **ENCODER,
            "hidden_size": 640,
            "intermediate_size": 2560,
            "num_hidden_layers": 12,
            "num_attention_heads": 20,
        },
        "BigBird": {"attention_type": "original_full"},
        "DebertaV2": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, **few},
        "XLMRobertaXL": {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, **few},
        "EuroBert": few,
        "MegatronBert": few,
        "RemBert": {**few, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        "Albert": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        "Nystromformer": {"num_landmarks": 4, "segment_means_seq_len": 16},
    }.get(name, {})
