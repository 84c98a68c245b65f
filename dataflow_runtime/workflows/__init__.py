"""Finds, loads and registers workflows.

Imports the standard library only.
"""
