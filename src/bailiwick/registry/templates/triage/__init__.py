"""Help-desk triage: category, priority, assignment group and next steps, by the rule base in `rules.yaml`."""

from .assess import RULES, run

__all__ = ["RULES", "run"]
