"""The dialects of the model gateway: where texts stand, streams, translation, limits. Pure: JSON in, JSON out."""
