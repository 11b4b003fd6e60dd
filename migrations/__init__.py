"""Schema revisions, applied by `offbeat.store.schema`.

A revision is a module in `versions`, written by hand from `script.py.mako`; `tests/store/test_schema.py` says what
the models have and the revisions lack. There is no way back but a backup.
"""
