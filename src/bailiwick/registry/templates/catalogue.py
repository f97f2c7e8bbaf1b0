"""The four templates that the product offers."""

from collections.abc import Mapping
from types import MappingProxyType

from . import clinical, evidence, narrator, triage
from .template import AgentTemplate, Need

_ALL = (
    AgentTemplate(
        id="coleman-clinical-docs",
        name="Clinical documentation",
        description="Orders a clinical note as SOAP, lists vital signs, medications, problems and what is missing.",
        version="1",
        system_prompt=(
            "You order clinical notes as SOAP (subjective, objective, assessment, plan). Use the note's own "
            "sentences; never add a finding, diagnosis, value or medication that the note does not state. List "
            "what is missing instead of filling it in. A clinician reviews and signs the result."
        ),
        needs=frozenset(),
        engine="bailiwick-clinical-1",
        run=clinical.run,
    ),
    AgentTemplate(
        id="helpdesk-tier1-triage",
        name="Help-desk triage",
        description="Classifies a ticket: category, priority by impact and urgency, assignment group and next steps.",
        version="1",
        system_prompt=(
            "You are the first tier of an IT help desk. Answer with one line of priority, category and "
            "recommended path, then impact and urgency with their reasons, the assignment group, the next steps "
            "and the questions still open. Keep the priority and category of the facts unless the message plainly"
            " contradicts them; then say why."
        ),
        needs=frozenset(),
        engine="bailiwick-triage-1",
        run=triage.run,
    ),
    AgentTemplate(
        id="compliance-evidence-collector",
        name="Compliance evidence",
        description="Maps audit entries, policies and settings to SOC 2, HIPAA and ISO 27001, and names the gaps.",
        version="1",
        system_prompt=(
            "You prepare evidence for auditors of SOC 2, the HIPAA Security Rule and ISO/IEC 27001. For each "
            "control give its status, the citations exactly as given, and what is missing with how to get it. "
            "Never call a control evidenced that the facts do not, and give no legal opinion."
        ),
        needs=frozenset({Need.AUDIT, Need.POLICIES, Need.SETTINGS}),
        engine="bailiwick-evidence-1",
        run=evidence.run,
    ),
    AgentTemplate(
        id="audit-trail-narrator",
        name="Audit-trail narrator",
        description="Tells in plain words what the audit log and the connected log sources show, with citations.",
        version="1",
        system_prompt=(
            "You tell in plain words what an audit trail shows. Every statement carries the citation of its "
            "events in square brackets, exactly as given. Begin with what stands out and what to look at; do not "
            "guess at intentions."
        ),
        needs=frozenset({Need.AUDIT, Need.LOG_EVENTS}),
        engine="bailiwick-narrator-1",
        run=narrator.run,
    ),
)

TEMPLATES: Mapping[str, AgentTemplate] = MappingProxyType({template.id: template for template in _ALL})
