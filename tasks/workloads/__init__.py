"""Workloads: what to learn from which data, one file each. `load_workload` finds one by name, module or path."""

from tasks.workloads.catalogue import load_workload, names, source_file
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

__all__ = ["DEFAULT_RECIPES", "Workload", "load_workload", "names", "source_file"]
