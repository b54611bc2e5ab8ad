"""Training stands without the libraries of other rooms: ray and vllm may be missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_BLOCKED = ("ray", "vllm")
_IMPORT = """
import importlib, json, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = json.loads(sys.argv[2])
sys.meta_path.insert(0, Missing())
for blocked in BLOCKED:
    try:
        importlib.import_module(blocked)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{blocked} was not blocked")
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(m for m in sys.modules if m.startswith("reelmill.training"))))
"""


def test_every_module_is_imported_without_ray_and_vllm(root: Path, clean_env: dict[str, str], tmp_path: Path) -> None:
    paths = [p.relative_to(root).with_suffix("") for p in sorted((root / "training").rglob("*.py"))]
    names = [("reelmill." + ".".join(path.parts)).removesuffix(".__init__") for path in paths]
    command = [sys.executable, "-c", _IMPORT, json.dumps(names), json.dumps(_BLOCKED)]
    env = clean_env | {"PYTHONPATH": str(root / ".typing")}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert set(names) <= set(json.loads(done.stdout))
    assert len(names) > 80
