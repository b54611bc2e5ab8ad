"""The guard: every way in which a step can break the row contract is named, and refused rows keep their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pytest

from reelmill.annotators.annotator import Resources, each_row, result_schema
from reelmill.pipelines._guard import run_step, with_outcome
from reelmill.schemas.column import Column
from reelmill.schemas.errors import GuardBroken, Unusable

NUMBER, DOUBLE = Column.of("number", int), Column.of("double", int)


@dataclass(frozen=True)
class Twice:
    """Doubles; refuses 3; fails on 4; then `spoil` breaks the answer."""

    spoil: Callable[[pa.Table], pa.Table] = lambda table: table
    needs = (NUMBER,)
    gives = (DOUBLE,)
    revision = "1"
    resources = Resources()

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.spoil(each_row(self, batch, self._row))

    @staticmethod
    def _row(row: dict[str, int]) -> dict[str, int]:
        if row["number"] == 3:
            raise Unusable("three", "3 is refused")
        if row["number"] == 4:
            raise RuntimeError("engine down")
        return {"double": 2 * row["number"]}


def table(*numbers: int) -> pa.Table:
    return with_outcome(pa.table({"key": [f"k{n}" for n in numbers], "number": list(numbers)}))


def test_refused_and_failed_rows_keep_their_place_and_have_no_answer() -> None:
    out = run_step(Twice(), table(1, 3, 4, 2)).to_pylist()
    assert [r["double"] for r in out] == [2, None, None, 4]
    assert [r["key"] for r in out] == ["k1", "k3", "k4", "k2"]
    assert out[1]["verdict"] == {"state": "rejected", "step": "twice", "reason": "three", "detail": "3 is refused"}
    assert out[1]["fault"] is None
    assert out[2]["verdict"] is None
    assert "RuntimeError: engine down" in out[2]["fault"]


def test_a_refused_row_is_not_asked_again_by_the_next_step() -> None:
    @dataclass(frozen=True)
    class Again(Twice):
        needs = (DOUBLE,)
        gives = (Column.of("asked", bool),)

        def __call__(self, batch: pa.Table) -> pa.Table:
            assert batch["double"].null_count == 0
            return each_row(self, batch, lambda row: {"asked": True})

    out = run_step(Again(), run_step(Twice(), table(3, 1, 4))).to_pylist()
    assert [r["asked"] for r in out] == [None, True, None]
    assert out[0]["verdict"]["reason"] == "three"


def test_a_batch_with_no_live_row_gets_typed_empty_columns() -> None:
    first = run_step(Twice(), table(3, 3))
    assert first["double"].type == pa.int64()
    assert first["double"].null_count == 2


def test_an_empty_batch_keeps_its_types() -> None:
    out = run_step(Twice(), table())
    assert out.num_rows == 0
    assert out.schema.field("double").type == pa.int64()


BROKEN = {
    "dropped": (lambda t: t.slice(1), r"dropped \['k1'\]"),
    "doubled": (lambda t: pa.concat_tables([t, t.slice(0, 1)]), r"doubled \['k1'\]"),
    "reordered": (lambda t: t.take([1, 0]), "another order"),
    "undeclared": (lambda t: t.append_column("extra", pa.array([1] * t.num_rows)), r"undeclared \['extra'\]"),
    "missing": (lambda t: t.drop_columns(["double"]), r"missing \['double'\]"),
    "mistyped": (lambda t: t.set_column(1, "double", t["double"].cast(pa.float64())), "double"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_contract_is_named(how: str) -> None:
    spoil, words = BROKEN[how]
    with pytest.raises(GuardBroken, match=words):
        run_step(Twice(spoil), table(1, 2))


def test_a_missing_import_ends_the_run_and_is_no_row_fault() -> None:
    def answer(row: dict[str, int]) -> dict[str, int]:
        raise ImportError("no module named cv2")

    with pytest.raises(ImportError, match="cv2"):
        each_row(Twice(), pa.table({"key": ["a"], "number": [1]}), answer)


def test_a_full_disk_ends_the_run_and_is_no_row_fault() -> None:
    def answer(row: dict[str, int]) -> dict[str, int]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        each_row(Twice(), pa.table({"key": ["a"], "number": [1]}), answer)


def test_an_answer_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(Exception, match=r"double|rows"):
        each_row(Twice(), pa.table({"key": ["a"], "number": [1]}), lambda row: {"double": "two"})


def test_result_schema_has_the_key_first() -> None:
    assert result_schema((DOUBLE,)).names == ["key", "double", "verdict", "fault"]
