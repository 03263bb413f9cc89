"""Tests of the use; a package, so that its conftest is one of its own."""
