"""Recipes of precisions: what makes the program of one out of the program that is written."""
