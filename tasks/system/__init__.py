"""What any step needs of the machine: whole files and their digests, locks, processes, object storage, signatures, sentences.

Public: `write_atomically`, `sha256_of`, `exclusive`, `start_tied`, `ObjectStorage`, `sign_folder` and `check_folder`, `first_line`, and `Frozen`, every record's base.
"""
