"""Measurements of Bailiwick beside other servers, on loopback only: `bailiwick bench`."""
