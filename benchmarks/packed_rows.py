"""Tokens a second of packed rows against the batches that TRL and nanoVLM make, forward and backward, on this CPU.

The same samples of rendered clips (questions of time over frames, of text in a picture), the same language model from
scratch, in turn in one process on one thread:

    packed            rows of at most `ROW` tokens, as our loader fills them; each document sees itself alone
    padded            `BATCH` documents, as long as the longest of them
    padded, sorted    the same with documents of like lengths together
    TRL               the batches that TRL's own collator for vision and language makes of the texts and pictures
    nanoVLM, padded   `BATCH` documents, each filled up to its `lm_max_length`
    nanoVLM, packed   sacks of as many tokens; what stands in one is seen by all that comes after it

All but the first go through transformers' own attention (sdpa) with the mask that their trainers give it. Real tokens
are counted, visual ones too. Collation, tower and head are left out: they cost the same for all. Medians of `--rounds`.

    python benchmarks/packed_rows.py --size S --rounds 5
    make bench-packing                                       with TRL, which `make setup` does not install

nanoVLM (huggingface/nanoVLM) in two forms: its collator pads on the left to `lm_max_length` (data/collators.py), and in
later versions a data set before it fills sacks of as many tokens (data/advanced_datasets.py: documents of eight sacks,
the longest first, each into the lightest sack in which it fits, of five more sacks than are needed; no bound between
documents). Its own `lm_max_length` is 4,096 for documents of up to as many; here it is the power of two over ours.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Result, bars, say
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import LlamaForCausalLM

from reelmill.training import ladder
from reelmill.training.codecs.text import Text
from reelmill.training.data.packing import Packer
from reelmill.training.data.shards import opened
from reelmill.training.data.tokenizer import BYTES, texts_of, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.splice import placed
from reelmill.training.trunk import run
from reelmill.training.values import TEXT, Seq

ROW, BATCH = 4096, 8
SACKS, SPARE, SACKS_A_BATCH = 8, 5, 2
"""nanoVLM's: sacks that documents are gathered for, sacks beyond those, and its batch size."""
FRAMES = 12
"""Of a clip at most: with the 64 visual tokens a frame of size S, documents are under 1,024 tokens."""
CODECS = {"time": Text(1), "box": Text(1)}
PACKED = "packed"

Batch = tuple[Tensor, Tensor]
"""Ids and mask, int64 [B, L]; the mask is 0 for what fills up."""


@dataclass(frozen=True)
class Sample:
    """A document with an id for every visual token, and the text and number of frames that it was made from."""

    ids: Tensor
    text: str
    frames: int

    def __len__(self) -> int:
        return len(self.ids)


# ---- samples ---------------------------------------------------------------------------------------------------------


def rendered(folder: Path) -> list[Path]:
    """Two packed datasets of rendered clips."""

    def reelmill(*words: str | Path) -> None:
        command = [sys.executable, "-m", "reelmill.jobs.cli", *map(str, words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    names, store = ("internvid_tg", "ocr_rich"), folder / "store"
    reelmill("scenes", folder / "media", "--count", "8", "--seed", "11")
    for name in names:
        reelmill("run", name, "--media", folder / "media", "--store", store, "--name", "x")
        reelmill("pack", f"{name}-x", "--store", store, "--media", "frames")
    return [store / f"{name}-x" / "1" for name in names]


def tokens_for(packs: Sequence[Path], size: ladder.Size) -> Tokens:
    texts = (text for pack in packs for text in texts_of(opened(pack), CODECS))
    return Tokens(trained(texts, kind=BYTES, vocabulary=1000), size.image, codecs=CODECS, max_frames=FRAMES)


def samples_of(packs: Sequence[Path], tokens: Tokens, each_frame: int) -> list[Sample]:
    splits = [opened(pack) for pack in packs]
    documents = [tokens.document([split.sample(n)]) for split in splits for n in range(len(split))]
    return [sampled(tokens, d.ids.tolist(), len(d.frames), each_frame) for d in documents]


def sampled(tokens: Tokens, ids: list[int], frames: int, each_frame: int) -> Sample:
    """The one mark of a document's medium stands for all frames: a mark each in the text, an id each in the row."""
    at, mark = ids.index(tokens.visual_id), tokens.form.visual
    row = [*ids[:at], *[tokens.visual_id] * (frames * each_frame), *ids[at + 1 :]]
    text = tokens.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return Sample(torch.tensor(row), text.replace(mark, mark * frames), frames)


def lm_max_length(samples: Sequence[Sample]) -> int:
    """nanoVLM's, of these samples: the power of two over the longest of them."""
    return 1 << max(map(len, samples)).bit_length()


def gathered(samples: Sequence[Sample], sack: int, draw: random.Random) -> list[Sample]:
    """As many as nanoVLM gathers before it fills sacks, so that the last ones are not emptier than the others."""
    chosen, left = list[Sample](), 0
    while sum(len(sample) + 1 for sample in chosen) < sack * SACKS:
        if not left:
            order, left = draw.sample(samples, len(samples)), len(samples)
        left -= 1
        chosen.append(order[left])
    return chosen


# ---- batches ---------------------------------------------------------------------------------------------------------


def filled(rows: Sequence[Batch], length: int, *, left: bool = False) -> Batch:
    """Rows of ids and masks, each filled up to `length` with zeros."""

    def one(row: Tensor) -> Tensor:
        more = length - len(row)
        return pad(row, (more, 0) if left else (0, more))

    return torch.stack([one(ids) for ids, _ in rows]), torch.stack([one(mask) for _, mask in rows])


def some(rows: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    return (rows[start : start + count] for start in range(0, len(rows), count))


def whole(sample: Sample) -> Batch:
    return sample.ids, torch.ones_like(sample.ids)


def longest(samples: Sequence[Sample]) -> list[Batch]:
    return [filled([whole(s) for s in each], max(map(len, each))) for each in some(samples, BATCH)]


def fixed(samples: Sequence[Sample], length: int) -> list[Batch]:
    """nanoVLM's collator alone."""
    return [filled([whole(s) for s in each], length, left=True) for each in some(samples, BATCH)]


def sacks(samples: Sequence[Sample], length: int) -> list[Batch]:
    """nanoVLM's collator behind its data set. A token that is masked closes each document."""
    room = -(-sum(len(s) + 1 for s in samples) // length) + SPARE
    groups: list[list[Batch]] = [[] for _ in range(room)]
    load = [0] * room
    for sample in sorted(samples, key=len, reverse=True):
        fits = [n for n, held in enumerate(load) if held + len(sample) + 1 <= length]
        if not fits:
            groups.append([])
            load.append(0)
        lightest = min(fits or [len(load) - 1], key=load.__getitem__)
        groups[lightest].append(filled([whole(sample)], len(sample) + 1))
        load[lightest] += len(sample) + 1
    rows = [(torch.cat([i[0] for i, _ in g]), torch.cat([m[0] for _, m in g])) for g in groups if g]
    return [filled(each, length, left=True) for each in some(rows, SACKS_A_BATCH)]


def collator(tokens: Tokens, size: ladder.Size) -> Callable[[Sequence[Sample]], list[Batch]] | None:
    """TRL's batches; None where TRL is not installed. Raises ValueError where they hold other tokens than ours."""
    try:
        from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling
    except ImportError as error:
        say(f"TRL is left out ({error}): `make bench-packing` installs it beside")
        return None
    from PIL import Image
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    side = {"height": size.image, "width": size.image}
    made = DataCollatorForVisionLanguageModeling(
        LlavaProcessor(
            CLIPImageProcessorPil(size=side, crop_size=side),
            tokens.tokenizer,
            patch_size=size.patch,
            vision_feature_select_strategy="default",
            image_token=tokens.form.visual,
            num_additional_image_tokens=1,
        )
    )
    blank = Image.new("RGB", (size.image, size.image))

    def batches(samples: Sequence[Sample]) -> list[Batch]:
        found = []
        for each in some(samples, BATCH):
            out = made([{"text": sample.text, "images": [blank] * sample.frames} for sample in each])
            ids, mask = out["input_ids"], out["attention_mask"]
            for row, real, sample in zip(ids, mask.bool(), each, strict=True):
                if row[real].tolist() != sample.ids.tolist():
                    raise ValueError(f"TRL reads other tokens than we do: {sample.text[:200]!r}")
            found.append((ids, mask))
        return found

    return batches


# ---- passes ----------------------------------------------------------------------------------------------------------


def rows_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """What our loader packs."""
    packer = Packer[Sample](ROW, len(samples))
    for number, sample in enumerate(samples):
        packer.add(sample, str(number), len(sample))
    return list(iter(packer.row, []))


def packed(lm: Any, rows: Iterable[Sequence[Sample]]) -> Iterator[Tensor]:
    """Losses of a pass a row."""
    for row in rows:
        lengths = torch.tensor([len(sample) for sample in row])
        doc = torch.repeat_interleave(torch.arange(len(row)), lengths)
        same = torch.zeros_like(doc)
        pos, before = placed(doc, same)
        h = lm.get_input_embeddings()(torch.cat([sample.ids for sample in row]))
        told = (pos, same + TEXT, doc, same, same - 100, torch.ones(len(doc)), torch.arange(len(doc)), before)
        yield run(lm, Seq(h, *told), documents=len(row)).h.square().mean()


def padded(lm: LlamaForCausalLM, batches: Iterable[Batch]) -> Iterator[Tensor]:
    """Losses of a pass a batch."""
    for ids, mask in batches:
        out = lm.model(input_ids=ids, attention_mask=mask, use_cache=False)
        yield out.last_hidden_state.square().mean()


def seconds(lm: nn.Module, losses: Iterator[Tensor]) -> float:
    """CPU time of a forward and a backward pass each."""
    lm.zero_grad()
    before = time.process_time()
    for loss in losses:
        loss.backward()
    return time.process_time() - before


@dataclass
class Speeds:
    """Real tokens a CPU-second of each way, round by round; the share of all positions that are real tokens; lengths of
    the documents, and nanoVLM's."""

    tokens: dict[str, list[float]]
    real: dict[str, float]
    lengths: list[int]
    sack: int


def measured(packs: Sequence[Path], size: ladder.Size, rounds: int) -> Speeds:
    tokens = tokens_for(packs, size)
    samples = samples_of(packs, tokens, (size.image // size.patch) ** 2)
    sack = lm_max_length(samples)
    ours, theirs = (ladder.language(size, len(tokens.tokenizer)) for _ in range(2))
    theirs.model.set_attn_implementation("sdpa")
    ways: dict[str, Callable[[Sequence[Sample]], list[Batch]]] = {
        "padded": longest,
        "padded, sorted": lambda given: longest(sorted(given, key=len)),
        "nanoVLM, padded": partial(fixed, length=sack),
        "nanoVLM, packed": partial(sacks, length=sack),
    }
    trl = collator(tokens, size)
    if trl is not None:
        ways["TRL"] = trl
    found = Speeds({}, {PACKED: 1.0}, [len(sample) for sample in samples], sack)
    for number in range(rounds + 1):
        chosen = gathered(samples, sack, random.Random(number))
        count = sum(map(len, chosen))
        spent = {PACKED: seconds(ours, packed(ours, rows_of(chosen)))}
        for name, way in ways.items():
            batches = way(chosen)
            assert sum(int(mask.sum()) for _, mask in batches) == count, name
            found.real[name] = count / sum(ids.numel() for ids, _ in batches)
            spent[name] = seconds(theirs, padded(theirs, batches))
        if number:  # the first warms up
            for name, each in spent.items():
                found.tokens.setdefault(name, []).append(count / each)
        say(f"round {number}: {count:,} tokens; " + ", ".join(f"{n} {count / each:,.0f}" for n, each in spent.items()))
    return found


def report(name: str, rounds: int, packs: Sequence[Path]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as there:
        found = measured(packs or rendered(Path(there)), ladder.LADDER[name], rounds)
    page = Result("packed_rows", "Packed rows against padded batches", rounds=rounds)
    page.raw |= {"tokens_per_cpu_s": found.tokens, "real_share": found.real, "size": name, "lengths": found.lengths}
    page.note(f"Language model {name} from scratch, float32, one thread, forward and backward.")
    middle, most = statistics.median(found.lengths), max(found.lengths)
    page.note(f"{len(found.lengths)} documents of {middle:.0f} tokens (median), at most {most}; batches of {BATCH}.")
    page.note(f"Packed rows of {ROW} tokens; nanoVLM's `lm_max_length` {found.sack}, {SACKS_A_BATCH} sacks a batch.")
    page.note("Each ratio is the median over rounds of packed over the other way in the same round.")
    if "TRL" not in found.tokens:
        page.note("TRL was not installed.")
    rows = []
    for way, each in found.tokens.items():
        ratio = statistics.median(a / b for a, b in zip(found.tokens[PACKED], each, strict=True))
        rows.append((way, f"{statistics.median(each):,.0f}", f"{ratio:.2f}", f"{found.real[way]:.2f}"))
    page.table(("way", "real tokens a CPU-second", "packed over it", "real share of positions"), rows)
    page.save(bars("real tokens a CPU-second", {way: statistics.median(each) for way, each in found.tokens.items()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(ladder.LADDER), default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packs", type=Path, nargs="*", default=[], help="published datasets instead of rendered ones")
    parser.add_argument("--brief", action="store_true", help="XS, two rounds")
    asked = parser.parse_args()
    report("XS" if asked.brief else asked.size, 2 if asked.brief else asked.rounds, asked.packs)
