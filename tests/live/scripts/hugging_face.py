"""Hugging Face's Trainer on a tiny BERT."""

import os
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

os.environ.setdefault("HF_HUB_OFFLINE", "1")
set_seed(0)
config = BertConfig(
    vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=16, num_labels=3,
)  # fmt: skip
model = BertForSequenceClassification(config)
ids = torch.randint(60, (256, 12))
rows = [{"input_ids": i, "attention_mask": torch.ones_like(i), "labels": i[0] % 3} for i in ids]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, max_steps=20, per_device_train_batch_size=16, gradient_accumulation_steps=2, report_to=[],
        disable_tqdm=True, use_cpu=True, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
print("done", trainer.state.global_step, sum(p.double().sum().item() for p in model.parameters()))
