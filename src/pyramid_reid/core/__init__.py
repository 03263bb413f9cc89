"""What every stage shares: params, errors, the crop store, and how things are shown and written."""
