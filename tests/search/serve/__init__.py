"""Tests of the page and its interface."""
