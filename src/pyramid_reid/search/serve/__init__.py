"""`pyramid-reid serve`: a store searched from a browser, and by programs as JSON."""
