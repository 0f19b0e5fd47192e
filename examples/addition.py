"""Adds two numbers and writes the sum: the smallest algorithm, without a dataset."""

import sys

numbers = [float(word) for word in sys.argv[1:]] or [1.0, 2.0]
with open("results/results.txt", "w") as out:
    out.write(f"{sum(numbers):g}\n")
