"""Evening out: of preference pairs, those that say the same the other way round as often, names aside.

What a set's own habits tell of a pair (things enter more often than they leave, an enter lies early) no single row can
even out. Here every form of a pair stays as often as its mirror does; the others are left out, and say so.
"""

from __future__ import annotations

from reelmill.pipelines._table import TableRecipe
from reelmill.schemas.errors import BadInput

_QUERY = """
with placed as (
  select key, pair, form, mirror, row_number() over (partition by pair, form order by key) as place from samples
), counted as (
  select pair, form, count(*) as have from samples group by pair, form
), judged as (
  select key, placed.pair as pair, place, coalesce(there.have, 0) as back
  from placed left join counted as there on there.pair = placed.pair and there.form = placed.mirror
)
select key, case when pair is not null and place <= back then 'accepted' else 'rejected' end as state,
  case when pair is null then 'no_pair' when place <= back then '' else 'not_mirrored' end as reason,
  case when pair is null then 'the sample has no rejected side' when place <= back then ''
    else format('{}: the other way round {} pairs say this, this is number {}', pair, back, place) end as detail
from judged
"""


def recipe(inputs: dict[str, float]) -> TableRecipe:
    """`inputs` names datasets of pairs, each with the weight 1: nothing is drawn, and all are evened out together.

    Raises BadInput on no input or on another weight.
    """
    if not inputs or set(inputs.values()) != {1.0}:
        raise BadInput("even_pairs wants datasets of pairs", seen=str(inputs), do="give --input NAME=1, once or more")
    return TableRecipe(name="even_pairs", version="1", inputs=tuple(sorted(inputs)), query=_QUERY)
