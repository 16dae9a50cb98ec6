"""Training: radius targets, the estimator, the classifier, and their order."""
