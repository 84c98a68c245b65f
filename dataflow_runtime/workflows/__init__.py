"""Knows the workflows: the registry, static discovery of installed packages, and loading them.

Imports the standard library only.
"""
