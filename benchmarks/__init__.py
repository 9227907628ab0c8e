"""What we claim about speed and size, measured: ratios in one run, with CPU seconds and memory."""
