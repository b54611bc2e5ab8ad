"""The engine in this process, and a server that we did not write, on tiny random checkpoints: mechanics, no quality."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import random_weights
from PIL import Image

from reelmill.annotators.engines import checkpoints
from reelmill.annotators.engines.engine import EngineSpec, Reply, Request, TimedImage, answers
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.transformers_ import Loaded, TransformersEngine, _Waiting, chosen
from reelmill.schemas.errors import EngineUnusable, ReelmillError

pytestmark = pytest.mark.slow


def picture(n: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (n * 37 % 256, n * 91 % 256, 80)).save(out, "JPEG")
    return out.getvalue()


def request(n: int, **kwargs) -> Request:
    shown = tuple(TimedImage(picture(n + i), i / 2) for i in range(n % 3))
    return Request(f"k{n}", f"What is shown, {n}? " * (1 + n % 4), shown, **{"max_tokens": 6 + n % 5, **kwargs})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights.llava(tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    made = TransformersEngine(str(folder), profile=EngineProfile(batch=4))
    yield made
    made.close()


def test_a_request_alone_is_the_request_in_a_batch(engine: TransformersEngine) -> None:
    """True of this checkpoint in float32; where batched products differ in the last bit, the cache makes it so."""
    requests = [request(n) for n in range(11)]
    together = {r.id: r for r in answers(engine, requests)}
    assert together == {r.id: engine.submit(r).result(60) for r in requests}
    assert {r.finish_reason for r in together.values()} <= {"stop", "length"}
    assert all(0 < together[r.id].tokens_out <= r.max_tokens for r in requests)
    assert all(r.model == "transformers:tiny-llava" and not r.error for r in together.values())


def test_the_first_tokens_candidates_are_a_distribution(engine: TransformersEngine) -> None:
    reply = engine.submit(request(4, top_logprobs=400)).result(60)
    import math

    assert len(reply.first) > 300
    assert sum(math.exp(c.logprob) for c in reply.first) == pytest.approx(1.0, abs=1e-3)
    assert [c.logprob for c in reply.first] == sorted((c.logprob for c in reply.first), reverse=True)
    assert engine.submit(request(4)).result(60).first == ()


def test_a_sampled_answer_comes_from_its_own_seed(engine: TransformersEngine) -> None:
    warm = [request(n, temperature=1.0, seed=5) for n in range(3)]
    first = {r.id: r.text for r in answers(engine, [*warm, request(9)])}
    again = {r.id: r.text for r in answers(engine, [request(9), *warm[::-1]])}
    assert first == again
    assert engine.submit(replace(warm[0], seed=6)).result(60).text != first["k0"]


def test_an_answer_ends_at_a_stop(engine: TransformersEngine) -> None:
    free = engine.submit(request(4, max_tokens=40)).result(60).text
    stop = free[3:5]
    reply = engine.submit(request(4, max_tokens=40, stop=(stop,))).result(60)
    assert (reply.text, reply.finish_reason) == (free[: free.index(stop)].strip(), "stop")


def test_a_bad_request_is_its_own_error_and_its_neighbours_are_answered(engine: TransformersEngine) -> None:
    broken = Request("broken", "?", (TimedImage(b"no jpeg", 0.0),))
    long = Request("long", "word " * 5000)
    replies = {r.id: r for r in answers(engine, [request(1), broken, request(2), long, request(3)])}
    assert "UnidentifiedImageError" in replies["broken"].error
    assert "too long" in replies["long"].error
    assert all(not replies[k].error for k in ("k1", "k2", "k3"))


def test_the_oldest_is_never_passed_over_and_its_like_go_with_it() -> None:
    from concurrent.futures import Future

    def waiting(*sizes: int) -> list[_Waiting]:
        return [_Waiting(Request(f"{i}", "x" * s), Future[Reply]()) for i, s in enumerate(sizes)]

    line = waiting(400, 4, 8, 420, 4, 390)
    assert [w.request.id for w in chosen(line, 3)] == ["0", "5", "3"]
    assert [w.request.id for w in line] == ["1", "2", "4"]
    hot = replace(line[0].request, temperature=0.7)
    line[0] = replace(line[0], request=hot)
    assert [w.request.id for w in chosen(line, 3)] == ["1"]


def test_a_model_that_cannot_be_loaded_is_told_to_all_who_ask(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_text('{"model_type": "llava"}')
    (bad / "model.safetensors").write_bytes(b"junk")
    engine = TransformersEngine(str(bad))
    first, second = engine.submit(request(1)), engine.submit(request(2))
    for asked in (first, second):
        with pytest.raises(ReelmillError):
            asked.result(60)
    engine.close()


def test_what_waits_at_the_end_is_cancelled_and_nothing_hangs(folder: Path) -> None:
    engine = TransformersEngine(str(folder), profile=EngineProfile(batch=1))
    asked = [engine.submit(request(n, max_tokens=30)) for n in range(12)]
    asked[0].result(60)
    engine.close()
    assert all(one.done() for one in asked)


def test_a_folder_is_named_by_itself_and_known_by_its_weights(folder: Path, tmp_path: Path) -> None:
    spec = EngineSpec.parse(f"transformers:{folder}")
    assert spec.name == "transformers:tiny-llava"
    assert len(spec.revision) == 16
    other = random_weights.llava(tmp_path / "tiny-llava", seed=1)
    assert checkpoints.folder_revision(str(other)) != spec.revision
    assert EngineSpec.parse("transformers:some/hub-name").revision == ""
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(EngineUnusable, match="an empty folder"):
        checkpoints.folder_revision(str(empty))


def test_the_times_of_frames_are_in_the_prompt(folder: Path) -> None:
    loaded = Loaded.of("x", str(folder), "", EngineProfile())
    inputs = loaded.inputs([request(2), request(5)])
    texts = loaded.processor.batch_decode(inputs["input_ids"], skip_special_tokens=False)
    assert "Frame at 0.000 s:" in texts[0]
    assert "Frame at 0.500 s:" in texts[1]
    assert inputs["pixel_values"].shape[0] == 4


@pytest.fixture
def serve(folder: Path, tmp_path: Path) -> Iterator[str]:
    """`transformers serve` with the tiny checkpoint; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "hub").mkdir()
    env = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until and server.poll() is None:
                with socket.socket() as line:
                    if line.connect_ex(("127.0.0.1", port)) == 0:
                        break
                threading.Event().wait(0.1)  # it needs the core to get ready on
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(20)


def test_a_server_that_we_did_not_write(serve: str, folder: Path, tmp_path: Path) -> None:
    with Engines(EngineProfile(in_flight=2), tmp_path / "replies") as engines:
        model = engines.get(f"openai:{folder}@{serve}")
        model.check(images=True)
        replies = list(answers(model, [request(n) for n in range(4)]))
    assert {r.id for r in replies} == {f"k{n}" for n in range(4)}
    assert [r.error for r in replies] == [""] * 4
    assert {r.finish_reason for r in replies} <= {"stop", "length"}
    assert all(r.tokens_in and r.tokens_out for r in replies)
