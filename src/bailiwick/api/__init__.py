"""The API families: thin encodings of the domain's use cases."""
