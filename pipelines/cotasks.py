"""Dialogues about all events of a clip in several turns (how many, what, when), or pairs of them ranked by a metric.

After VidChain (arXiv 2501.06761): CoTasks in both orders, and M-DPO's four pools. Without a model the wrong sides are
made by stated rules from the true account, and every pair is checked claim by claim.
"""

from __future__ import annotations

from reelmill.pipelines import clips, drawn_accounts, events
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._truth import true_clips
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.cotasks import PAIRS, CompareCoTasks, CompareDrawn, CompileCoTasks
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import BadInput


def recipe(
    evidence: str = "rules",
    agreement: bool = False,
    pairs: bool = False,
    least_margin: float = 10.0,
    seed: int = 0,
    even: bool = True,
    sample_engine: str = "",
) -> Recipe:
    """One row per video clip, exploded into dialogues, or with `pairs` into preference pairs whose measures differ by
    at least `least_margin` of 100. `evidence` is rules; truth for rendered scenes; or human:SET:PATH for what a dense
    annotated set says. `agreement` as in `events`; `seed` draws other wordings and candidates. `even=false` makes the
    wrong sides by rules that change their form too, which a reader without the video can tell, as another dataset.
    With `sample_engine` (--engine sample=...) they are what a model told of the clip (`drawn_accounts`)."""
    if sample_engine:
        return _sampled(evidence, sample_engine, agreement, CompareDrawn(seed=seed, least_margin=least_margin))
    name, source = _evidence(evidence, agreement)
    if not pairs:
        steps = (CompileCoTasks(seed=seed),)
        return Recipe(name=name.format("cotasks"), version="1", source=source, steps=steps, explode=SAMPLES)
    if not isinstance(even, bool):
        raise BadInput(f"even={even}", seen="neither true nor false", do="give true or false")
    compare = (CompareCoTasks(seed=seed, least_margin=least_margin, even=even),)
    form = "cotasks_pairs" if even else "cotasks_pairs_uneven"
    return Recipe(name=name.format(form), version="1", source=source, steps=compare, explode=PAIRS)


def _sampled(evidence: str, engine: str, agreement: bool, step: CompareDrawn) -> Recipe:
    if evidence != "rules":
        raise BadInput(
            f"evidence={evidence}", seen="a sample_engine beside it", do="use rules, whose events it is told"
        )
    drawn = drawn_accounts.recipe(engine, agreement=agreement, seed=step.seed)
    source = Rows(clips.recipe(), joined=(events.recipe(agreement), drawn), only="video")
    return Recipe(name="cotasks_pairs_sampled", version="1", source=source, steps=(step,), explode=PAIRS)


def _evidence(evidence: str, agreement: bool) -> tuple[str, Rows]:
    """The name of a dataset with a place for the form's, and where its rows come from."""
    if evidence == "truth":
        return "{}_truth", true_clips()
    if evidence.startswith("human:"):
        return _stated(evidence)
    if evidence != "rules":
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules, truth or human:SET:PATH")
    return "{}", Rows(clips.recipe(), joined=(events.recipe(agreement),), only="video")


def _stated(evidence: str) -> tuple[str, Rows]:
    from reelmill.pipelines import witnessed
    from reelmill.pipelines.sources.annotated.reading import is_dense

    name, _, path = evidence.removeprefix("human:").partition(":")
    if not path or not is_dense(name):
        seen = "no path" if not path else f"{name} does not tell all of a video"
        raise BadInput(f"evidence={evidence}", seen=seen, do="use human:activitynet_captions:PATH or another dense set")
    said = witnessed.recipe(name, path)
    return said.name.replace("witnessed", "{}_human", 1), Rows(clips.recipe(), joined=(said,), only="video")
