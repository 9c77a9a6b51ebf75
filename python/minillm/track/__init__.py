"""What a run writes down about itself: numbers, curves, a page, and how it came about.

Nothing here imports PyTorch before it is needed, so that `minillm runs` answers at once.
"""
