"""The hosted agent templates: pure engines that do real work without a model, and give their findings to one if there
is one.

`TEMPLATES[id].run(TemplateInput(...))` answers; load before it only what `needs` names. `model_messages` builds the
chat for a model, `SETTING_NAMES` are the settings facts that the evidence collector understands.
"""

from .catalogue import TEMPLATES
from .evidence import SETTING_NAMES
from .template import (
    AgentTemplate,
    AuditFact,
    Fact,
    LogEvent,
    Need,
    PolicyFact,
    TemplateContext,
    TemplateInput,
    TemplateResult,
    estimate_units,
    model_messages,
)

__all__ = [
    "SETTING_NAMES",
    "TEMPLATES",
    "AgentTemplate",
    "AuditFact",
    "Fact",
    "LogEvent",
    "Need",
    "PolicyFact",
    "TemplateContext",
    "TemplateInput",
    "TemplateResult",
    "estimate_units",
    "model_messages",
]
