"""Exports loaded back by the trainers' own libraries: `make check-exports`.

    python benchmarks/load_exports.py make FOLDER    with Reelmill: rendered scenes, three datasets, all exports
    python benchmarks/load_exports.py load FOLDER    with the trainers: every row read, prepared and trained on

The checkpoints are tiny and random and learn nothing: what is shown is that files, columns, placeholders and media fit.
A row that a library would skip or replace without a word is an error here: rows are counted on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))

FORMS = ("ms_swift", "llava", "trl")
DATASETS = ("internvid_tg-x", "ocr_rich-x", "view-t")
"""Questions of time over frames, of places in one frame, and pairs."""
QWEN, LLAVA_LIKE = "qwen", "llava"


# --- with Reelmill's environment ---


def reelmill(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "reelmill.jobs.cli", *map(str, words)], check=True)


def make(folder: Path) -> None:
    """Render, run, pack and export: NAME-FORM-MEDIA below the folder."""
    store = folder / "store"
    reelmill("scenes", folder / "media", "--count", "3", "--seed", "11")
    for recipe in ("internvid_tg", "ocr_rich"):
        reelmill("run", recipe, "--media", folder / "media", "--store", store, "--name", "x")
    make_pairs(store, sorted((folder / "media").glob("*.mp4")))
    for media in ("frames", "clip"):
        for name in DATASETS:
            reelmill("pack", name, "--store", store, "--media", media)
            for form in FORMS:
                if fits(name, form, media):
                    reelmill("export", name, "--store", store, "--to", form, "--out", folder / f"{name}-{form}-{media}")


def fits(name: str, form: str, media: str) -> bool:
    """What has a form at all: TRL reads no mp4, and LLaVA no pair over several frames."""
    return not (form == "trl" and media == "clip") and not (form == "llava" and media == "frames" and name == "view-t")


def make_pairs(store: Path, films: list[Path]) -> None:
    """Pairs over frames and mp4 of a rendered film of the split `train`, made by hand: what is tried is their form."""
    import dataclasses

    import exported

    from reelmill.schemas.keys import file_digest
    from reelmill.sinks.publishing.view import split_of

    film = next(f for f in films if split_of(file_digest(f)) == "train")
    clips = []
    for i in range(2):
        made = exported.clip(i, uri=str(film.absolute()))
        clips.append(dataclasses.replace(made, media=dataclasses.replace(made.media, digest=file_digest(film))))
    wrong = exported.said("During <time>.", tgt_s=(1.5, 2.0))
    rows = [(c, exported.pair(exported.sample(c, exported.WHEN), wrong)) for c in clips]
    exported.packed(store, rows)


# --- with the trainers' environment ---


def expected(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "export.json").read_text()))


def found(folder: Path, form: str, *, pairs: bool) -> list[Path]:
    """Exports of a form that hold pairs, or those that do not."""
    every = sorted(p for p in folder.glob(f"*-{form}-*") if p.is_dir())
    return [p for p in every if p.name.startswith("view-t") is pairs]


def swift_rows(export: Path, template: Any) -> tuple[int, list[dict[str, Any]]]:
    """Rows as ms-swift loads them, none skipped (`strict`), and each as the template prepares it; how many."""
    from swift import load_dataset

    os.chdir(export)  # it looks for frame lists below the working folder alone
    said = expected(export)
    rows, _ = load_dataset(said["file"]["path"], strict=True, load_from_cache_file=False)
    assert len(rows) == said["samples"], f"{len(rows)} rows of {said['samples']}"
    return len(rows), [template.encode(dict(row), return_length=True) for row in rows]


def swift_template(folder: Path) -> Any:
    from swift import get_processor, get_template

    processor = get_processor(str(folder / QWEN), model_type="qwen2_5_vl")
    return get_template(processor, template_type="qwen2_5_vl")


def check_swift_sft(folder: Path) -> str:
    """Every SFT row is encoded; what stands for media is there, and boxes are the model's own."""
    template, told = swift_template(folder), []
    template.set_mode("train")
    for export in found(folder, "ms_swift", pairs=False):
        count, encoded = swift_rows(export, template)
        pixels = sum("pixel_values" in e or "pixel_values_videos" in e for e in encoded)
        assert pixels == count, f"{export.name}: {count - pixels} rows without pixels"
        boxes = sum(boxes_of(export, template, i, e) for i, e in enumerate(encoded))
        told.append(f"{export.name} {count} rows, {boxes} boxes converted by the template")
    return "; ".join(told)


def boxes_of(export: Path, template: Any, place: int, encoded: dict[str, Any]) -> int:
    """How many boxes the template wrote for a row: each the exported one in pixels of the picture as it was resized."""
    row = json.loads((export / expected(export)["file"]["path"]).read_text().splitlines()[place])
    said = re.findall(
        r"<\|box_start\|>\((\d+),(\d+)\),\((\d+),(\d+)\)<\|box_end\|>",
        template.processor.tokenizer.decode(encoded["input_ids"]),
    )
    wanted = row.get("objects", {"bbox": []})["bbox"]
    assert len(said) == len(wanted), f"{len(said)} boxes said, {len(wanted)} exported"
    for numbers, box in zip(said, wanted, strict=True):
        width, height = Image.open(export / row["images"][0]).size
        _, down, across = (int(n) for n in encoded["image_grid_thw"][0])
        for got, have, scale in zip(numbers, box, (across * 14 / width, down * 14 / height) * 2, strict=True):
            assert abs(int(got) - have * scale) <= 0.51, f"{numbers} of {box}"
    return len(said)


def check_swift_pairs(folder: Path) -> str:
    """Every pair gives two sides over the same media."""
    template, told = swift_template(folder), []
    template.set_mode("rlhf")
    for export in found(folder, "ms_swift", pairs=True):
        count, encoded = swift_rows(export, template)
        for e in encoded:
            assert e["chosen_input_ids"] != e["rejected_input_ids"], "both sides read alike"
            assert any(k.startswith("chosen_pixel_values") for k in e), sorted(e)
            assert any(k.startswith("rejected_pixel_values") for k in e), sorted(e)
        told.append(f"{export.name} {count} pairs")
    return "; ".join(told)


def swift_step(folder: Path, export: Path, *, pairs: bool) -> str:
    """One step of `swift sft` or `swift rlhf` in a process of its own."""
    command = ["swift", "rlhf", "--rlhf_type", "dpo"] if pairs else ["swift", "sft"]
    words = {
        "model": folder / QWEN,
        "model_type": "qwen2_5_vl",
        "template": "qwen2_5_vl",
        "dataset": expected(export)["file"]["path"],
        "strict": "true",
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "tuner_type": "full",
        "torch_dtype": "float32",
        "output_dir": folder / "swift-out",
        "report_to": "none",
        "split_dataset_ratio": 0,
        "dataloader_num_workers": 0,
        "save_strategy": "no",
        "use_hf": "true",
    }
    options = [str(w) for name, value in words.items() for w in (f"--{name}", value)]
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:], *options], cwd=export, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    loss = re.search(r"'?loss'?: '?([\d.]+)", done.stdout + done.stderr)
    assert loss, (done.stdout + done.stderr)[-1000:]
    return f"{export.name}: loss {loss[1]}"


def check_swift_trains(folder: Path) -> str:
    return "; ".join(swift_step(folder, e, pairs=False) for e in found(folder, "ms_swift", pairs=False))


def check_swift_trains_on_pairs(folder: Path) -> str:
    return "; ".join(swift_step(folder, e, pairs=True) for e in found(folder, "ms_swift", pairs=True))


def trl_rows(export: Path) -> Any:
    from datasets import load_dataset

    said = expected(export)
    rows = load_dataset("parquet", data_files=str(export / said["file"]["path"]), split="train")
    assert len(rows) == said["samples"], f"{len(rows)} rows of {said['samples']}"
    assert all(image.size[0] > 0 for row in rows for image in row["images"]), "a picture was not decoded"
    return rows


def trl_arguments(folder: Path) -> dict[str, Any]:
    quiet = {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "use_cpu": True, "bf16": False}
    return quiet | {"output_dir": str(folder / "trl-out"), "max_steps": 1, "per_device_train_batch_size": 2}


def check_trl_sft(folder: Path) -> str:
    """SFTTrainer prepares every row and takes one step."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from trl import SFTConfig, SFTTrainer

    told = []
    for export in found(folder, "trl", pairs=False):
        rows = trl_rows(export)
        model = LlavaForConditionalGeneration.from_pretrained(folder / LLAVA_LIKE)
        processor = AutoProcessor.from_pretrained(folder / LLAVA_LIKE)
        arguments = SFTConfig(**trl_arguments(folder), max_length=None)
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor)
        marked = [trainer.data_collator([dict(row)]) for row in rows]  # each row by itself, as the trainer makes it
        token = processor.tokenizer.convert_tokens_to_ids("<image>")
        for row, batch in zip(rows, marked, strict=True):
            pictures, tokens = len(row["images"]), int((batch["input_ids"] == token).sum())
            assert tokens == pictures * 4, f"{pictures} pictures of 4 tokens, {tokens} tokens in the text"
        told.append(f"{export.name} {len(rows)} rows, loss {trainer.train().training_loss:.3f}")
    return "; ".join(told)


def check_trl_dpo(folder: Path) -> str:
    """DPOTrainer takes one step on the pairs."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from trl import DPOConfig, DPOTrainer

    told = []
    for export in found(folder, "trl", pairs=True):
        rows = trl_rows(export)
        model = LlavaForConditionalGeneration.from_pretrained(folder / LLAVA_LIKE)
        processor = AutoProcessor.from_pretrained(folder / LLAVA_LIKE)
        arguments = DPOConfig(**trl_arguments(folder), max_length=None)
        trainer = DPOTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor)
        told.append(f"{export.name} {len(rows)} pairs, loss {trainer.train().training_loss:.3f}")
    return "; ".join(told)


def check_llava(folder: Path) -> str:
    """`datasets` reads every file, and a strict reader after LLaVA-NeXT's loader every row and medium."""
    from datasets import load_dataset

    told = []
    for export in [*found(folder, "llava", pairs=False), *found(folder, "llava", pairs=True)]:
        said = expected(export)
        path = export / said["file"]["path"]
        assert len(load_dataset("json", data_files=str(path), split="train")) == said["samples"]
        rows = json.loads(path.read_text())
        for row in rows:
            read_as_llava_next(row, export)
        assert len(rows) == said["samples"]
        told.append(f"{export.name} {len(rows)} rows")
    return "; ".join(told)


def read_as_llava_next(row: dict[str, Any], folder: Path) -> None:
    """What `llava/train/train.py` and `train_dpo.py` of LLaVA-NeXT do with a row, without their second tries: they
    replace a row that cannot be read by the next one. Raises AssertionError or OSError."""
    from decord import VideoReader

    if "image" in row:
        names = row["image"] if isinstance(row["image"], list) else [row["image"]]
        for name in names:
            Image.open(folder / name).convert("RGB")
    else:
        names = [row["video"]]
        assert len(VideoReader(str(folder / row["video"]))) > 0
    if "prompt" in row:
        assert all(isinstance(row[k], str) for k in ("prompt", "chosen", "rejected", "answer"))
        assert row["chosen"] != row["rejected"]
        texts, wanted = [row["prompt"].replace("<image>", "").strip()], 1  # it puts one `<image>` in front itself
        assert len(names) == wanted
        assert "<image>" not in row["chosen"] + row["rejected"] + texts[0]
        return
    roles = [turn["from"] for turn in row["conversations"]]
    assert roles == ["human", "gpt"] * (len(roles) // 2), roles
    marks = sum(turn["value"].count("<image>") for turn in row["conversations"])
    assert marks == len(names), f"{marks} placeholders for {len(names)} media"


CHECKS: dict[str, Callable[[Path], str]] = {
    "llava: files, rows, media": check_llava,
    "trl: SFTTrainer": check_trl_sft,
    "trl: DPOTrainer": check_trl_dpo,
    "ms-swift: SFT rows encoded": check_swift_sft,
    "ms-swift: pairs encoded": check_swift_pairs,
    "ms-swift: swift sft": check_swift_trains,
    "ms-swift: swift rlhf": check_swift_trains_on_pairs,
}


def load(folder: Path, only: str) -> int:
    """Run the checks; returns how many failed."""
    import random_weights

    for name, write in ((QWEN, random_weights.qwen_vl), (LLAVA_LIKE, random_weights.llava)):
        if not (folder / name / "config.json").exists():
            write(folder / name)
    names = ("torch", "transformers", "datasets", "ms-swift")
    print("versions:", ", ".join(f"{n} {metadata.version(n)}" for n in names), "trl", trl_version(), flush=True)
    failed = 0
    for name, check in CHECKS.items():
        if only not in name:
            continue
        try:
            print(f"ok    {name}: {check(folder)}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
    return failed


def trl_version() -> str:
    import trl

    return str(trl.__version__)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("phase", choices=("make", "load"))
    told.add_argument("folder", type=Path)
    told.add_argument("--only", default="", help="checks whose name holds this")
    said = told.parse_args()
    folder = said.folder.absolute()
    if said.phase == "make":
        make(folder)
    else:
        sys.exit(1 if load(folder, said.only) else 0)


if __name__ == "__main__":
    main()
