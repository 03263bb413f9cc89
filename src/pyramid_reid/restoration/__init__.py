"""From a crop to its pyramid: networks, their training, and the generation of all crops."""
