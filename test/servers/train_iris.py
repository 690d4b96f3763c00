"""Trains the iris classifier of the tests and saves it: train_iris.py <file.joblib>."""

import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

rows, labels = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=500).fit(rows, labels), sys.argv[1])
