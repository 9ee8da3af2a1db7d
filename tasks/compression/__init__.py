"""Recipe → Candidate: each method in a file of its own, and the search for recipes that nobody gave.

Public: `compress`, `check_run` and `check_recipes`, `Study`.
"""
