"""What people read: the report and its pictures, the model card, the approval's page, explanations, what a run cost.

Public: `write_report`, `model_card`, `brief`, `attributions`, `explain_version`, `metered`.
"""
