"""The bare script's function on plain Ray Data: one block per file, flat_map, write_webdataset.

python benchmarks/peers/ray_data.py OUT VIDEO ...
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def samples(row: dict[str, Any]) -> list[dict[str, Any]]:
    import bare
    import cv2

    cv2.setNumThreads(1)
    return list(bare.samples(row["item"]))


def main() -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    import ray

    out, *paths = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        videos = ray.data.from_items(paths, override_num_blocks=len(paths))
        videos.flat_map(samples).write_webdataset(out, encoder=None)
        ray.shutdown()


if __name__ == "__main__":
    main()
