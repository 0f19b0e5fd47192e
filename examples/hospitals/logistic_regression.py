"""Logistic regression on the tables of all parties, in plain Python.

Reads every CSV file in datasets/ (last column: the label, 0 or 1), trains on four rows of five,
and writes the accuracy on the fifth, with the weights, to results/. No party's rows leave: the
results hold one number per feature and three about the whole.
"""

import csv
import json
import math
import os
from operator import mul

EPOCHS = 120
RATE = 0.5
MOMENTUM = 0.9


def read(folder):
    """All rows of all tables, as lists of numbers, and the names of the features."""
    features, rows = [], []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), newline="") as table:
            lines = csv.reader(table)
            features = next(lines)[:-1]
            rows.extend([float(cell) for cell in line] for line in lines)
    return features, rows


def standardize(rows):
    """Each column shifted to mean 0 and scaled to deviation 1; the label stays, a bias is added."""
    columns = list(zip(*rows))[:-1]
    means = [sum(column) / len(column) for column in columns]
    scales = [
        math.sqrt(sum((x - mean) ** 2 for x in column) / len(column)) or 1.0
        for column, mean in zip(columns, means)
    ]
    return [
        ([1.0] + [(x - m) / s for x, m, s in zip(row, means, scales)], row[-1]) for row in rows
    ]


def predict(weights, x):
    z = sum(map(mul, weights, x))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))


def train(examples):
    """Weights after gradient descent with momentum on the log loss."""
    weights = [0.0] * len(examples[0][0])
    step = weights[:]
    for _ in range(EPOCHS):
        gradient = [0.0] * len(weights)
        for x, label in examples:
            error = predict(weights, x) - label
            gradient = [g + error * xi for g, xi in zip(gradient, x)]
        step = [MOMENTUM * s - RATE * g / len(examples) for s, g in zip(step, gradient)]
        weights = [w + s for w, s in zip(weights, step)]
    return weights


def main():
    features, rows = read("datasets")
    examples = standardize(rows)
    held_out = examples[::5]
    training = [example for i, example in enumerate(examples) if i % 5]
    weights = train(training)
    right = sum((predict(weights, x) >= 0.5) == (label == 1.0) for x, label in held_out)
    model = {
        "accuracy": round(right / len(held_out), 4),
        "trained_on": len(training),
        "tested_on": len(held_out),
        "weights": dict(zip(["bias"] + features, [round(w, 6) for w in weights])),
    }
    with open("results/model.json", "w") as out:
        json.dump(model, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    main()
