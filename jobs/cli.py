"""The command line: flags say where and how much, never what.

Exit codes: 0 done, 1 our fault, 2 the user's, 3 partly committed or over the fault budget, 130 stopped by Ctrl-C.

    reelmill run ocr_rich --media pictures/
    reelmill look ocr_rich-pictures-1a2b3c
    reelmill sql ocr_rich-pictures-1a2b3c "select task, count(*) from samples group by task"
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from reelmill.schemas.errors import ReelmillError
from reelmill.sinks.state.place import on_disk, place_at

_HELP = """Raw videos and pictures in, verified training datasets out.

Begin with `reelmill demo`, or `reelmill list` and `reelmill run RECIPE --media FOLDER`."""
_BUDGET_HELP = "Share of rows that may fail by our fault; over it, once 200 are worked on, the run ends with code 3."
_STUCK_HELP = """End a run in which nothing moves for so many seconds with code 1, and save where it stood; 0: never. A
decode child within its own limit counts as moving."""
_OPTIMIZER_HELP = "muon, adamw, or auto: Muon from scratch, AdamW on pretrained weights."
_PEAK_HELP = "The machine's peak in dense bfloat16, for MFU; 0: that of a known GPU, else GFLOP/s are told."
_COMPARE_HELP = """The second run less the first, row by row, with paired 95 % intervals drawn by source file.

\b
reelmill compare runs/a runs/b --brief                  whole tasks alone
reelmill compare runs/m3/4 runs/m3/16 --measure tiou    one measure, by verb and number of things too"""
_TRAIN_HELP = """Train a paper's model on packed datasets. A killed run goes on to the same weights.

\b
reelmill train list                                             the papers
reelmill train pllava store/internvid_tg-mine/1 --run runs/a    a folder that `pack` wrote
reelmill train m3 internvid_tg-mine,ocr_rich-mine*2 --run b     names in the store, the second counts twice
reelmill train llava15 dpo_perturb-mine --objective dpo --start runs/a --run runs/c

Killed or stopped, the same command goes on. Ctrl-C (or SIGTERM) ends it after the step under way with a checkpoint
and code 130; a second one at once. RUN/report.html has the curves. See docs/training.md."""
_EVAL_HELP = """Ask a trained model and score it: every figure with an interval, and beside what needs no video.

\b
reelmill eval runs/a store/internvid_tg-mine/1                        the split val, into runs/a
reelmill eval runs/a internvid_tg-mine --limit 200 --out runs/a/200   another exam wants another folder
reelmill eval runs/m3 internvid_tg-mine --budget 4 --out runs/m3/4    fewer visual tokens, where the paper has them

Prior is the best constant answer, question only the best one to similar questions: neither sees a frame."""
_KINDS_HELP = "chart, table, receipt, form, slide, poster, sign or screen; all by turns by default. Repeatable."
_EXIT_CODES = (
    "Exit codes: 0 done, 1 our fault, 2 the user's, 3 partly committed or over the fault budget, 130 stopped by Ctrl-C."
)

app = typer.Typer(
    help=_HELP,
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

cache_app = typer.Typer(help="The replies of models that a store keeps.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

Dataset = Annotated[str, typer.Argument(help="A dataset: NAME (its newest version) or NAME@VERSION.")]
StoreAt = Annotated[
    Any,
    typer.Option(
        "--store",
        parser=place_at,
        metavar="PLACE",
        help="The folder that holds the datasets, or s3://bucket/prefix (run with --no-pack).",
        envvar="REELMILL_STORE",
    ),
]
Media = Annotated[
    list[str] | None,
    typer.Option(
        "--media",
        metavar="PLACE",
        help="A folder, file, glob, table of URIs (csv, parquet, jsonl) or fsspec URI. Repeatable.",
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the recipe. See `explain`. Repeatable."),
]
EngineFor = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="ABILITY=ENGINE",
        help="Who answers, as caption=embedded, =transformers:MODEL, =vllm:MODEL, =openai:MODEL@URL, =replay:FILE.",
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A TOML file: how engines are used, and what they cost. See docs/engines.md."),
]
MaxCost = Annotated[
    float, typer.Option(min=0.0, help="Spend at most so much, by the profile's prices, then end with code 3; 0: any.")
]
Cost = Annotated[bool, typer.Option("--cost", help="Estimate calls, tokens, cost and time of what is pending.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no model: answers come from the cache alone.")]
_INPUT_HELP = (
    "For mix: a finished dataset and its weight. Repeatable. Beside it --set total=N, source_max=N, clip_max=N (most "
    "samples of one file, of one clip), quotas='A=500; B=20%', stratify=proportional or equal (by task), seed=N."
)
Weighed = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="DATASET=WEIGHT", help=_INPUT_HELP),
]
DEFAULT_STORE = Path("store")
_INTERRUPTED = 130
_FLOW = ".toml"


@app.command("list")
def list_() -> None:
    """The recipes that ship, one line each."""
    from reelmill.jobs import recipes

    found = recipes.recipe_files()
    width = max(len(f.name) for f in found)
    for one in found:
        typer.echo(f"{one.name:<{width}}  {one.summary}")


@app.command()
def explain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, package.module:function, or a flow's FILE.toml.")],
    option: Option = None,
    engine: EngineFor = None,
    weighed: Weighed = None,
    cost: Cost = False,
    media: Media = None,
    store: StoreAt = DEFAULT_STORE,
    name: Annotated[str, typer.Option(help="Name of the set of datasets, as for `run`.")] = "",
    pilot: Annotated[int, typer.Option(min=1, help="Rows that are asked about for the estimate.")] = 8,
    profile: Profile = None,
) -> None:
    """What a recipe does: the graph of datasets, and in each the chain of steps with the columns alive at each edge.

    With --cost: what its models would use and cost on what is pending, by a few rows that are really asked about.
    """
    from reelmill.jobs import explaining, flows, running

    if recipe.endswith(_FLOW):
        typer.echo(flows.text(flows.read(Path(recipe))))
        return
    made = running.recipe_of(recipe, option, engine, weighed)
    if not cost:
        typer.echo(explaining.text(made))
        return
    from reelmill.jobs import estimating

    engines = running.profile_of(profile, 0.0, offline=False)
    estimating.estimate(made, tuple(media or ()), store, name, engines, pilot)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, package.module:function, or a flow's FILE.toml.")],
    media: Media = None,
    store: StoreAt = DEFAULT_STORE,
    name: Annotated[str, typer.Option(help="Name of the set of datasets; default from the media's location.")] = "",
    option: Option = None,
    engine: EngineFor = None,
    weighed: Weighed = None,
    on: Annotated[
        str, typer.Option(help="local, ray (the job's cluster, or one of its own), or a Ray address.")
    ] = "local",
    workers: Annotated[
        int, typer.Option(min=0, help="Workers on this machine; 0: as many as CPUs and memory carry.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Work on at most so many pending rows per dataset; 0: all.")] = 0,
    dev: Annotated[bool, typer.Option("--dev", help="Build drifted datasets beside the finished ones.")] = False,
    as_version: Annotated[str, typer.Option(help="Build drifted datasets as this new version, such as 2.")] = "",
    fault_budget: Annotated[float, typer.Option(min=0.0, max=1.0, help=_BUDGET_HELP)] = 0.01,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for another run on a dataset.")] = 600.0,
    stuck_after: Annotated[float, typer.Option(min=0.0, help=_STUCK_HELP)] = 3600.0,
    profile: Profile = None,
    max_cost: MaxCost = 0.0,
    offline: Offline = False,
    pack: Annotated[bool, typer.Option(help="Pack shards, tables, card and gallery at the end.")] = True,
    pack_media: Annotated[str, typer.Option(help="Media in the shards: frames, clip or ref.")] = "frames",
) -> None:
    """Make a recipe's dataset, and everything it is fed from; do only what is not done yet.

    Killed, full or cut off? Run it again: it goes on, to the same bytes. A flow's file (docs/training.md) makes several
    datasets, and trains and evaluates models on them.
    """
    from reelmill.jobs import flowing, flows, running

    engines = running.profile_of(profile, max_cost, offline=offline)
    where = running.Where(store, name, on, workers, limit, dev, as_version, fault_budget, wait, stuck_after, engines)
    if recipe.endswith(_FLOW):
        flowing.require_alone({"media": media, "name": name, "set": option, "engine": engine, "input": weighed})
        raise typer.Exit(flowing.run(flows.read(Path(recipe)), where))
    made = running.recipe_of(recipe, option, engine, weighed)
    raise typer.Exit(running.run(made, tuple(media or ()), where, pack_media if pack else ""))


@app.command("import")
def import_(
    set: Annotated[
        str,
        typer.Argument(
            help="How the set is written: llava_json, ms_swift, webdataset; coco, laion (captions); textvqa.",
        ),
    ],
    path: Annotated[Path, typer.Argument(help="Its file of rows; for webdataset a shard or a folder of them.")],
    name: Annotated[str, typer.Option(help="Name of the set of datasets that is made: imported-NAME and its media.")],
    media: Media = None,
    store: StoreAt = DEFAULT_STORE,
    whole: Annotated[bool, typer.Option("--whole", help="Videos of up to 60 s as one clip, not cut at shots.")] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Workers on this machine; 0: as many as CPUs and memory carry.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Work on at most so many pending rows per dataset; 0: all.")] = 0,
    pack: Annotated[bool, typer.Option(help="Pack shards, tables, card and gallery at the end.")] = True,
    pack_media: Annotated[str, typer.Option(help="Media in the shards: frames, clip or ref.")] = "frames",
) -> None:
    """Bring an existing instruction or caption set into the store, as a dataset like any other.

    reelmill import llava_json llava_instruct_150k.json --media coco/ --name llava

    Every row of the set ends accepted or rejected with a reason; `reelmill rejects imported-NAME` tells which. Media
    are found by the ends of their paths among the files of --media (of webdataset: inside the shards) and are never
    opened by a name of the set. A row about a video wants it to be one clip: of one shot, or, with --whole, of at
    most 60 s. Labels of a set are marked as imported and unmeasured: look at them before training on them.
    """
    from reelmill.jobs import importing, running

    where = running.Where(store, name, workers=workers, limit=limit)
    packed = pack_media if pack else ""
    raise typer.Exit(importing.import_set(set, path, tuple(media or ()), where, packed, whole=whole))


@app.command()
def status(
    dataset: Annotated[str, typer.Argument(help="A dataset; all of the store by default.")] = "",
    store: StoreAt = DEFAULT_STORE,
) -> None:
    """What is accepted, rejected and pending, and why rows are pending."""
    from reelmill.jobs import inspecting

    inspecting.status(store, dataset)


@app.command()
def look(
    dataset: Dataset,
    store: StoreAt = DEFAULT_STORE,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Samples to show.")] = 3,
) -> None:
    """A few samples and the rejects by reason, in the terminal."""
    from reelmill.jobs import inspecting

    inspecting.look(store, dataset, number)


@app.command()
def sql(
    dataset: Dataset,
    query: Annotated[str, typer.Argument(help="A query; without one, the tables and their columns are listed.")] = "",
    store: StoreAt = DEFAULT_STORE,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Ask a dataset with DuckDB: samples, turns, rejects, sources, counts."""
    from reelmill.jobs import inspecting

    inspecting.sql(store, dataset, query, form)


@app.command()
def rejects(
    dataset: Dataset,
    store: StoreAt = DEFAULT_STORE,
    where: Annotated[str, typer.Option(help="SQL condition on level, key, step, reason, detail.")] = "true",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Rows to show.")] = 40,
) -> None:
    """What was rejected and why: by reason, then row by row."""
    from reelmill.jobs import inspecting

    inspecting.rejects(store, dataset, where, number)


@app.command()
def retry(
    dataset: Dataset,
    store: StoreAt = DEFAULT_STORE,
    where: Annotated[str, typer.Option(help="SQL condition on level, key, step, reason, detail.")] = "level = 'row'",
    damaged: Annotated[bool, typer.Option("--damaged", help="Rows whose stored bytes are damaged instead.")] = False,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Forget what models said of them too: it is asked, and paid, anew.")
    ] = False,
) -> None:
    """Send rejected (or damaged) rows back to pending; the next `run` works on them again."""
    from reelmill.jobs import inspecting

    inspecting.retry(store, dataset, where, damaged=damaged, ask_again=ask_again)


@app.command()
def verify(
    dataset: Dataset,
    store: StoreAt = DEFAULT_STORE,
    truth: Annotated[bool, typer.Option("--truth", help="Score the labels against the scenes' exact truth.")] = False,
) -> None:
    """Recount everything from the bytes up; with --truth, measure label error on rendered scenes."""
    from reelmill.jobs import verifying

    raise typer.Exit(verifying.verify(store, dataset, truth=truth))


@app.command()
def audit(
    dataset: Dataset,
    store: StoreAt = DEFAULT_STORE,
    number: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples to ask about.")] = 60,
    seed: Annotated[int, typer.Option(help="Which samples are drawn; two raters want the same.")] = 0,
    stratum: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Ask only about this family=, task= or method=. Repeatable."),
    ] = None,
    rater: Annotated[str, typer.Option(help="Who marks; default: the login name.")] = "",
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page as one HTML file instead.")] = None,
    marks: Annotated[Path | None, typer.Option(metavar="FILE", help="Read the marks that such a page gave.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Only say what the marks say.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port; 0: whichever is free.")] = 0,
) -> None:
    """Mark a drawn sample of labels right or wrong by keyboard; the card's UNAUDITED becomes a precision.

    The page is served to this machine until Ctrl-C, and every mark is on disk before the page says so.
    """
    from reelmill.jobs import auditing, inspecting

    if report:
        auditing.report(inspecting.opened(store).find(dataset))
    elif marks is not None:
        auditing.read_marks(store, dataset, marks)
    else:
        asked = auditing.ask(store, dataset, rater, number, seed, stratum or ())
        if page is not None:
            auditing.write_page(store, dataset, asked, page)
        else:
            auditing.serve(store, dataset, asked, port)


@app.command()
def pack(
    dataset: Dataset,
    store: StoreAt = DEFAULT_STORE,
    media: Annotated[str, typer.Option(help="Media in the shards: frames, clip or ref.")] = "frames",
) -> None:
    """Write shards, tables, index, catalog, card and gallery of what is accepted."""
    from reelmill.jobs import packing

    packing.pack_and_show(store, dataset, media)


@app.command()
def export(
    dataset: Dataset,
    to: Annotated[str, typer.Option(metavar="FORM", help="ms_swift, llava, trl, or live_chat for streams.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A folder that is empty or not there.")],
    store: StoreAt = DEFAULT_STORE,
    times: Annotated[
        str, typer.Option(help="Times in texts: seconds (two decimals) or percent (00 to 99 of the clip).")
    ] = "seconds",
    boxes: Annotated[
        str,
        typer.Option(
            help="""Boxes: pixels, unit (0..1), thousand (0..1000); llava: square (0..1 of the padded picture);
            ms_swift: objects (its own column). By default ms_swift: objects, llava: unit, trl: thousand."""
        ),
    ] = "",
    split: Annotated[str, typer.Option(help="train or val.")] = "train",
) -> None:
    """Write a packed dataset in a trainer's own form, with its media, to a folder of its own.

    reelmill export internvid_tg-mine --to ms_swift --out swift/ && cd swift && swift sft --dataset train.jsonl ...

    Pairs become the trainer's preference form. Videos are frames or mp4 as the dataset was packed (`pack --media
    clip`); trl takes frames alone. export.json in the folder says how times and boxes are written and how exact
    that is, which samples were left out and why, and what the form cannot say. See docs/exports.md.
    """
    from reelmill.jobs import exporting

    exporting.export_and_tell(store, dataset, exporting.form_of(to, times, boxes), out, split)


@app.command(help=_COMPARE_HELP)
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A folder with evaluation.json in it, or such a file.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another, evaluated on the same questions.")],
    measure: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this measure, such as tiou or r@0.7. Repeatable.")
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Whole tasks alone, not by verb, objects or kind.")] = False,
) -> None:
    """The second run less the first, row by row: differences with paired 95 % intervals, drawn by source file."""
    from reelmill.jobs import evaluating

    evaluating.compare_runs(first, second, tuple(measure or ()), groups=not brief)


@app.command(help=_TRAIN_HELP)
def train(
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="A paper by name, or `list` for all of them.")],
    datasets: Annotated[
        str,
        typer.Argument(
            metavar="DATASET[,DATASET...]", help="Folders of packs, or names in the store; NAME*2 counts twice."
        ),
    ] = "",
    run: Annotated[
        Path, typer.Option("--run", help="The run's folder; one that is there goes on where it was.")
    ] = Path("run"),
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 1000,
    size: Annotated[str, typer.Option(help="XS, S, M or L: a model from scratch.")] = "XS",
    tokens: Annotated[int, typer.Option(min=64, help="Length of a packed row.")] = 4096,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip that are shown.")] = 16,
    accumulate: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 1,
    rate: Annotated[float, typer.Option(help="Learning rate; of the part that learns fastest, on --model.")] = 2e-3,
    optimizer: Annotated[str, typer.Option(help=_OPTIMIZER_HELP)] = "auto",
    seed: Annotated[int, typer.Option(help="Weights, order and draws.")] = 0,
    objective: Annotated[str, typer.Option(help="variant (its own), or dpo on pairs.")] = "variant",
    start: Annotated[Path | None, typer.Option(metavar="RUN", help="Begin with the weights of this run.")] = None,
    tower: Annotated[
        str | None, typer.Option(metavar="PLACE", help="A vision tower to begin with: a folder or a fetched name.")
    ] = None,
    words: Annotated[str | None, typer.Option(metavar="PLACE", help="The language model beside --tower.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PLACE", help="An image-text model to begin with, in place of both.")
    ] = None,
    stages: Annotated[
        str, typer.Option(help="paper: its phases, on --model or --tower; one: all parts at once.")
    ] = "paper",
    image_px: Annotated[
        int | None, typer.Option("--image-px", min=1, help="Side of frames, on a --model that sees any size (Qwen-VL).")
    ] = None,
    shared: Annotated[bool, typer.Option(help="All samples of a clip in one document: the video once.")] = True,
    in_order: Annotated[bool, typer.Option("--in-order", help="As published: stages of a curriculum in turn.")] = False,
    ema: Annotated[float, typer.Option(min=0, max=1, help="Decay of averaged weights; 0: none.")] = 0.0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile for layers and head; on a CPU it needs g++.")
    ] = False,
    every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")] = 250,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the variant. Repeatable.")
    ] = None,
    peak: Annotated[float, typer.Option(min=0, metavar="TFLOPS", help=_PEAK_HELP)] = 0.0,
    on: Annotated[
        str, typer.Option(help="local, ray (the job's cluster, or one of its own), or a Ray address.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Processes that divide a step's rows, with --on ray.")] = 1,
    store: StoreAt = DEFAULT_STORE,
) -> None:
    """Train a paper's model on packed datasets. A killed run goes on to the same weights.

    With --model, or --tower and --words, the paper's own phases say what learns when, and RUN/model can be loaded by
    transformers where the paper keeps to its layout.
    """
    from reelmill.jobs import fitting

    if variant == "list":
        fitting.print_variants()
        return
    asked = fitting.Asked(
        *(variant, datasets, steps, size, tokens, frames, accumulate, rate, seed, objective, start, every),
        in_order=in_order,
        ema=ema,
        tower=tower,
        words=words,
        model=model,
        stages=stages,
        compile=compiled,
        image_px=image_px,
        optimizer=optimizer,
    )
    plan = asked.plan(fitting.settings(sets or ()), shared=shared)
    if on == "local":
        raise typer.Exit(fitting.train(plan, run, store, peak))
    from reelmill.jobs import distributing

    raise typer.Exit(distributing.train_on(on, workers, plan, run, store))


@app.command(name="eval", help=_EVAL_HELP)
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained run.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The folder of a pack, or a name in the store.")],
    split: Annotated[str, typer.Option(help="The split that is asked.")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Visual tokens a group, where these can vary.")] = None,
    silence: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="In a stream: speak where silence is less likely than this.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For evaluation.json and its page; default: RUN.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Show whole tasks alone, not by verb, objects or kind.")
    ] = False,
    store: StoreAt = DEFAULT_STORE,
) -> None:
    """Ask a trained model and score it: every figure with an interval, and beside what needs no video."""
    from reelmill.jobs import fitting

    fitting.evaluate_run(run, fitting.Exam(dataset, split, limit, budget, silence), store, out, groups=not brief)


@app.command()
def gc(store: StoreAt = DEFAULT_STORE) -> None:
    """Remove what nothing refers to: parts of void commits, leftovers of killed writers."""
    from reelmill.jobs import inspecting

    inspecting.collect(store)


@app.command()
def scenes(
    folder: Annotated[Path, typer.Argument(help="Where to write the videos and their truth.")],
    count: Annotated[int, typer.Option(min=1, help="Scenes to render.")] = 8,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    preset: Annotated[
        str,
        typer.Option(help="How hard: demo, easy, medium. micro, micro-one, micro-pictures: shards of tiny clips."),
    ] = "demo",
) -> None:
    """Render scenes with exact truth, to measure labels against."""
    from reelmill.jobs import rendering

    rendering.render(folder, count, seed, preset)


@app.command()
def documents(
    folder: Annotated[Path, typer.Argument(help="Where to write the pictures and their truth.")],
    count: Annotated[int, typer.Option(min=1, help="Documents to render.")] = 8,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help=_KINDS_HELP)] = None,
    look: Annotated[str, typer.Option(help="How hard to read: easy (clean) or hard (small, tilted, worn).")] = "easy",
) -> None:
    """Render pictures of documents with exact truth: what each says, where, and in which order.

    Then `reelmill run code_guided --media FOLDER` makes questions whose answers are exact, and
    `reelmill run text --media FOLDER` with `verify text-... --truth` measures how well text is read.
    """
    from reelmill.jobs import rendering

    rendering.render_documents(folder, count, seed, look, tuple(kind or ()))


@app.command()
def demo(
    media: Annotated[Path | None, typer.Option(help="Your own folder of videos and pictures.")] = None,
    store: StoreAt = Path("demo"),
) -> None:
    """The first result: scenes and pictures through both families, packed, measured, shown. No GPU, key or download."""
    from reelmill.jobs import demonstrating

    raise typer.Exit(demonstrating.demo(on_disk(store), media))


@app.command()
def teacher(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port; 0: whichever is free.")] = 8321,
    fault_rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of requests that go wrong.")] = 0.0,
    latency: Annotated[float, typer.Option(min=0.0, help="Seconds before every answer.")] = 0.0,
) -> None:
    """A stand-in for a model server: answers by rules, without weights, with faults to order. Ends with Ctrl-C."""
    from reelmill.jobs import teaching

    teaching.teach(port, fault_rate, latency)


@cache_app.command("stats")
def cache_stats(store: StoreAt = DEFAULT_STORE, profile: Profile = None) -> None:
    """What was bought: replies, tokens and cost by engine, and how much room they take."""
    from reelmill.jobs import caching, running

    caching.stats(store, running.profile_of(profile, 0.0, offline=False))


@cache_app.command("prune")
def cache_prune(
    store: StoreAt = DEFAULT_STORE,
    engine: Annotated[str, typer.Option(help="Replies of this engine, as `cache stats` names it.")] = "",
    older_than: Annotated[float, typer.Option(min=0.0, help="Replies of more than so many days ago.")] = 0.0,
    same: Annotated[int, typer.Option(min=0, help="Replies whose text answers more than so many questions.")] = 0,
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without, only what would go is said.")] = False,
) -> None:
    """Forget replies: they will be asked for, and paid for, again where they are needed."""
    from reelmill.jobs import caching

    caching.prune(store, engine, older_than, same, delete=delete)


@app.command()
def doctor(store: StoreAt = DEFAULT_STORE, engine: EngineFor = None, profile: Profile = None) -> None:
    """What this machine can do: decoders, text engine, Ray, disk, and the engines that are named."""
    from reelmill.jobs import examining, running

    used = running.profile_of(profile, 0.0, offline=False)
    raise typer.Exit(examining.doctor(store, engine or (), used))


def main() -> None:
    """Run the command line; every known error becomes one line and its exit code."""
    try:
        app()
    except ReelmillError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:  # typer ends so on Ctrl-C, without a word
            typer.echo("stopped; run the same command again to go on", err=True)
        raise
    except Exception:
        traceback.print_exc()
        typer.echo("error: this is our fault, not yours; what was committed is safe, run again to go on", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
