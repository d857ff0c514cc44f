"""Displays in the manner of scikit-learn: pictures of fitted estimators."""
