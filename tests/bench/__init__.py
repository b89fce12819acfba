"""Benchmarks: ``python -m tests.bench`` prints every table, ``python -m tests.bench NAME`` one of them.

Figures are CPU seconds of one thread, compared side by side in one run; nothing here is a test.
"""
