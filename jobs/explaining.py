"""`explain`: a recipe as text, at two levels."""

from __future__ import annotations

from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Recipe, in_order, step_identity
from reelmill.pipelines._table import TableRecipe


def text(recipe: Recipe | TableRecipe) -> str:
    """The graph of datasets, then each dataset's chain; for a table recipe its inputs and its query."""
    if isinstance(recipe, TableRecipe):
        fed = " + ".join(recipe.inputs)
        return f"{fed} -> {recipe.name}@{recipe.version}\n{recipe.query}\nwith {dict(recipe.parameters)}"
    recipes = in_order(recipe)
    lines = ["datasets, sources first:"]
    for one in recipes:
        fed = " + ".join(up.name for up in one.source.upstreams) or "media files"
        lines.append(f"  {fed} -> {one.name}@{one.version}  [{one.fingerprint_hash()}]")
    for one in recipes:
        lines += ["", f"{one.name}@{one.version}", *_chain(one)]
    return "\n".join(lines)


def _chain(recipe: Recipe) -> list[str]:
    plan = Plan.of(recipe)
    lines = [f"  source gives {', '.join(c.name for c in recipe.source.gives)}"]
    for step, edge in zip(recipe.steps, plan.edges, strict=True):
        needs = ", ".join(c.name for c in step.needs)
        said = ", ".join(f"{k}={v}" for k, v in step_identity(step)["fields"].items()) or "no settings"
        cost = f"{step.resources.cpus:g} CPU" + (f", {step.resources.gpus:g} GPU" if step.resources.gpus else "")
        lines += [
            f"  {edge.step} (revision {step.revision}, {cost}): {needs} -> {', '.join(edge.adds)}",
            f"      {said}",
            f"      alive after it: {', '.join(edge.alive) or 'nothing'}",
        ]
    made = f"children from {recipe.explode.name}" if recipe.explode else "rows"
    return [*lines, f"  stored: {made}; kept columns: {', '.join(c.name for c in recipe.keeps) or 'none'}"]
