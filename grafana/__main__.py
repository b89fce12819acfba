"""`python -m grafana`: write the dashboards, or with ``--check`` say which are not current."""

from __future__ import annotations

import sys

from grafana.rendered import DASHBOARDS, rendered


def main(arguments: list[str]) -> int:
    """Exit code 1 when a committed dashboard is not what the Python would make."""
    stale = 0
    for name, text in rendered().items():
        path = DASHBOARDS / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            sys.stdout.write(f"{path} is not current; run: python -m grafana\n")
            stale += 1
        else:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
