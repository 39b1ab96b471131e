"""Checks exports of a gateway offline. ``verify_export.py`` is one file and stands alone: it can be given to anybody."""
