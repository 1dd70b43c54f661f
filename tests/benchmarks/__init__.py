"""Measure what patauth costs and what others cost, on this machine and in one run.

    python -m tests.benchmarks requests profile imports scale owners engines throughput --json figures.json

It needs the extra `bench`; `throughput` also needs wrk on PATH. Each table says how it was measured.
"""
