"""What people write today: transformers' Trainer and PEFT with their stock settings. Prints one JSON line a run."""

import argparse
import json
import os
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import datasets
import peft
import torch
import transformers

LEARNING_RATES = {"full": 5e-5, "frozen": 1e-3, "lora": 5e-4}

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--train", required=True)
parser.add_argument("--test", required=True)
parser.add_argument("--strategies", nargs="+", required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--max-length", type=int, required=True)
parser.add_argument("--precision", default="fp32")
asked = parser.parse_args()

datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
rows = datasets.load_dataset(
    "csv", data_files={"train": asked.train, "test": asked.test}, cache_dir=tempfile.mkdtemp()
).map(lambda batch: tokenizer(batch["text"], truncation=True, max_length=asked.max_length), batched=True)

for strategy in asked.strategies:
    start = time.perf_counter()
    transformers.set_seed(asked.seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=2)
    if strategy == "frozen":
        model.base_model.requires_grad_(False)
    if strategy == "lora":
        config = peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules="all-linear")
        model = peft.get_peft_model(model, config)
    settings = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=asked.epochs,
        learning_rate=LEARNING_RATES[strategy],
        seed=asked.seed,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        bf16=asked.precision == "bf16",
    )
    collator = transformers.DataCollatorWithPadding(tokenizer)
    trainer = transformers.Trainer(model=model, args=settings, train_dataset=rows["train"], data_collator=collator)
    before = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    predicted = trainer.predict(rows["test"]).predictions.argmax(-1)
    done = time.perf_counter()
    result = {
        "strategy": strategy,
        "seed": asked.seed,
        "train_seconds": trained - before,
        "wall_seconds": done - start,
        "accuracy": float((predicted == rows["test"]["label"][:]).mean()),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
