"""Evaluation of trained models: certified data sets, tables, figures."""
