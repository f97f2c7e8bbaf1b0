"""Dispatch: one implementation for each kind of target, over one way of calling other servers."""
