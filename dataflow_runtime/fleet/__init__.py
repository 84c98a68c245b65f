"""The template's life in many checkouts: which are behind or edited by hand, and bringing them up to date.

Git does the work underneath, and Copier the rendering and the three-way merge; needs the extra ``fleet``.
"""
