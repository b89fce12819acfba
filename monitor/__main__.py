"""``python -m monitor`` is the command."""

from __future__ import annotations

from monitor.cli import main

main()
