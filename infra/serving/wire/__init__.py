"""What goes in and out whatever the protocol: tensors and rows, answers' headings, and what a client is told went wrong.

Public: the records and functions of `tensors`, `headings.Headings` and `headings.refuse`, `problems.Problem`.
"""
