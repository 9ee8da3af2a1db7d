"""Prefect, and the only code that imports it: the flows, each on one screen, and what starts, shows and watches them.

Public: `retrain.retrain`, `promote.promote`, `promote.rollback`, `promote.refuse`, `monitor.monitor`.
"""
