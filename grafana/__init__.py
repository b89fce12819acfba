"""Dashboards made in Python: `python -m grafana` writes dashboards/, `--check` says whether they are current."""
