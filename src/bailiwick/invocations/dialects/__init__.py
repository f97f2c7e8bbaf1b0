"""The dialects of the model gateway: where texts stand, streams, translation, limits. Pure: JSON in, JSON out.

A call goes: `request_positions` and `with_texts` on the client's body, `translate_request`, `cap_output` and (a chat
stream) `ask_for_usage`; its answer: `usage_of`, `translate_answer`, `response_positions`, `with_response_texts`; its
stream: `EventParser`, `stream_translator`, `StreamRelay` over `stream_reader`, `encode_event`.
"""

from bailiwick.invocations.dialects.answers import AnswerUnreadable
from bailiwick.invocations.dialects.chat_stream import ChatStreamReader
from bailiwick.invocations.dialects.embeddings import embedding_positions, embedding_prompt, embedding_tokens_bound
from bailiwick.invocations.dialects.errors import InvalidBody, Untranslatable
from bailiwick.invocations.dialects.frames import CutReason, Frame, Kind, StreamReader
from bailiwick.invocations.dialects.limits import ask_for_usage, cap_output, output_bound
from bailiwick.invocations.dialects.messages_stream import MessagesStreamReader
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.positions import request_positions, response_positions, with_response_texts
from bailiwick.invocations.dialects.price_modes import ORDINARY, PriceMode, PriceModes, modes_asked, modes_told
from bailiwick.invocations.dialects.prompts import Prompt, input_tokens_bound, prompt_of, utf8_bytes
from bailiwick.invocations.dialects.provider_errors import error_body, error_event, error_status, translate_error
from bailiwick.invocations.dialects.recognition import begins_answer, error_told, is_embedding_answer
from bailiwick.invocations.dialects.relay import Masker, StreamRelay
from bailiwick.invocations.dialects.responses_stream import ResponsesStreamReader
from bailiwick.invocations.dialects.server_events import EventParser, ServerEvent, StreamUnreadable, encode_event
from bailiwick.invocations.dialects.stream_translation import StreamTranslator
from bailiwick.invocations.dialects.translation import stream_translator, translate_answer, translate_request
from bailiwick.invocations.dialects.usage import TokenUsage, usage_of
from bailiwick.invocations.dialects.walk import Position, with_texts

__all__ = [
    "ORDINARY",
    "AnswerUnreadable",
    "CutReason",
    "Dialect",
    "EventParser",
    "Frame",
    "InvalidBody",
    "Kind",
    "Masker",
    "Position",
    "PriceMode",
    "PriceModes",
    "Prompt",
    "ServerEvent",
    "StreamReader",
    "StreamRelay",
    "StreamTranslator",
    "StreamUnreadable",
    "TokenUsage",
    "Untranslatable",
    "ask_for_usage",
    "begins_answer",
    "cap_output",
    "embedding_positions",
    "embedding_prompt",
    "embedding_tokens_bound",
    "encode_event",
    "error_body",
    "error_event",
    "error_status",
    "error_told",
    "input_tokens_bound",
    "is_embedding_answer",
    "modes_asked",
    "modes_told",
    "output_bound",
    "prompt_of",
    "request_positions",
    "response_positions",
    "stream_reader",
    "stream_translator",
    "translate_answer",
    "translate_error",
    "translate_request",
    "usage_of",
    "utf8_bytes",
    "with_response_texts",
    "with_texts",
]


def stream_reader(dialect: Dialect, *, hides_usage: bool = False) -> StreamReader:
    """The reader of a dialect's streams. `hides_usage`: a chat's usage was asked for by us, not by the client."""
    if dialect is Dialect.CHAT:
        return ChatStreamReader(hides_usage=hides_usage)
    return MessagesStreamReader() if dialect is Dialect.MESSAGES else ResponsesStreamReader()
