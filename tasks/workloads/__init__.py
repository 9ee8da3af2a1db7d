"""Workloads: what to learn from which data, one file each. `load_workload` finds one by name, module or path."""

from tasks.workloads.base import DEFAULT_RECIPES, Workload
from tasks.workloads.find import load_workload, names, source_file

__all__ = ["DEFAULT_RECIPES", "Workload", "load_workload", "names", "source_file"]
