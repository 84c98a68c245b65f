"""The template's life in many checkouts: which are behind or edited, and how they are upgraded.

Git stores and merges, Copier's public API renders. Needs the extra ``fleet``; imports no Dagster.
"""
