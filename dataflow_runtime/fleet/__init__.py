"""The template's life in many checkouts: which are behind or edited, and bringing them up to date.

Git stores and merges, Copier's public API renders. Needs the extra ``fleet``; never imports Dagster.
"""
