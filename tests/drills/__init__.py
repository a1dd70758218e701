"""Shipped drills in as many wirings and seeds as a time lets; the short form is ``unit/test_scenarios``."""
