"""Data loss prevention: finds secrets, PII and PHI in a text, tells what blocks, and masks.

`scan` and the masker raise `DlpUnavailable` when they cannot inspect; callers fail closed.
"""

from bailiwick.dlp.engine import scan, warm_up
from bailiwick.dlp.errors import DlpUnavailable
from bailiwick.dlp.findings import Category, Finding, is_blocking_phi
from bailiwick.dlp.masking import StreamMasker, mask

__all__ = ["Category", "DlpUnavailable", "Finding", "StreamMasker", "is_blocking_phi", "mask", "scan", "warm_up"]
