"""The textbook: what minillm does fast, once more, slow, separate and obvious.

These are for reading, for courses, and for tests, which hold the package to them; the package never
imports them. Nothing is installed: with `PYTHONPATH=docs`, it is `from textbook import model`.
"""
