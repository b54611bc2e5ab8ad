"""Parts of benchmarks/on_gpu.py, one file each."""
