"""What a run is told as: counts, percentiles, receipts, progress, and the summary at the end."""
