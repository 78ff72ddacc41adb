"""Named studies: what the claims come to over many seeds, each beside its controls."""
