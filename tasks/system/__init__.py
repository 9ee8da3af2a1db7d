"""What any step needs of the machine: whole files and their digests, locks, processes, object storage, sentences.

Public: `write_atomically`, `sha256_of`, `exclusive`, `start_tied`, `ObjectStorage`, `first_line`, and `Frozen`, every record's base.
"""
