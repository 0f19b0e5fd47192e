"""Linear regression over the tables of all parties, in plain Python: least squares of one column on
another, by its command line

    cocos algo examples/linear_regression.py KEY -a python --args mean_radius --args mean_area

Reads every CSV file in datasets/; writes slope, intercept, the share of variance explained and the
number of rows to results/model.json. No party's rows leave: five numbers about the whole do.
"""

import csv
import json
import os
import statistics
import sys


def columns(folder, wanted):
    """The wanted columns of all tables, in the order of their names; rows without a number are left out."""
    pairs = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), newline="") as table:
            for row in csv.DictReader(table):
                try:
                    pairs.append(tuple(float(row[column]) for column in wanted))
                except (KeyError, ValueError, TypeError):
                    continue
    return list(zip(*pairs))


x, y = columns("datasets", (sys.argv[1], sys.argv[2]))
slope, intercept = statistics.linear_regression(x, y)
correlation = statistics.correlation(x, y)
with open("results/model.json", "w") as out:
    json.dump(
        {
            "rows": len(x),
            "slope": round(slope, 9),
            "intercept": round(intercept, 9),
            "explained": round(correlation**2, 9),
        },
        out,
        indent=2,
    )
