"""From the client's dialect to the provider's and back; Chat Completions stands between the other two.

    client      provider    request                                  answer and stream
    chat        messages    chat → messages                          messages → chat
    messages    chat        messages → chat                          chat → messages
    responses   chat        responses → chat                         chat → responses
    responses   messages    responses → chat → messages              messages → chat → responses

A provider that speaks Responses alone is reached by clients that speak it.
"""

from __future__ import annotations

from bailiwick.invocations.dialects.answers import (
    AnswerUnreadable,
    chat_answer_to_messages,
    chat_answer_to_responses,
    messages_answer_to_chat,
)
from bailiwick.invocations.dialects.chat_to_messages import chat_request_to_messages
from bailiwick.invocations.dialects.errors import InvalidBody, Untranslatable
from bailiwick.invocations.dialects.messages_from_chat_stream import ChatToMessagesStream
from bailiwick.invocations.dialects.messages_to_chat import messages_request_to_chat
from bailiwick.invocations.dialects.names import Dialect
from bailiwick.invocations.dialects.reading import Json
from bailiwick.invocations.dialects.recognition import is_answer
from bailiwick.invocations.dialects.responses_from_chat_stream import ChatToResponsesStream
from bailiwick.invocations.dialects.responses_to_chat import responses_request_to_chat
from bailiwick.invocations.dialects.stream_translation import (
    ChainedStream,
    MessagesToChatStream,
    StreamTranslator,
    UntranslatedStream,
)
from bailiwick.invocations.dialects.tool_results import with_text_results


def translate_request(
    client: Dialect,
    provider: Dialect,
    body: Json,
    *,
    default_max_tokens: int,
    chat_key: str = "max_completion_tokens",
) -> Json:
    """The request in the provider's dialect; itself when that is the client's. Fields that neither dialect knows go on
    untouched.

    `default_max_tokens` bounds the output where Anthropic demands a bound and the client gave none; `chat_key` is what
    a chat server calls it. Raises Untranslatable and InvalidBody, which name the field (of the chat request that stands
    between, where one does).
    """
    if not isinstance(body, dict):
        raise InvalidBody("body", "must be a JSON object")
    if client is provider:
        return body
    if provider is Dialect.RESPONSES:
        raise Untranslatable("model")
    if client is Dialect.MESSAGES:
        return with_text_results(messages_request_to_chat(body, chat_key=chat_key))
    chat = responses_request_to_chat(body, chat_key=chat_key) if client is Dialect.RESPONSES else body
    if provider is Dialect.CHAT:
        return with_text_results(chat)
    return chat_request_to_messages(chat, default_max_tokens=default_max_tokens)


def translate_answer(provider: Dialect, client: Dialect, answer: Json, request: Json, *, created: int) -> Json:
    """A whole answer in the client's dialect. `request` is the client's own, `created` the time of the call (Unix
    seconds). Raises AnswerUnreadable when the answer is none."""
    if not is_answer(provider, answer):
        raise AnswerUnreadable
    if provider is client:
        return answer
    if client is Dialect.MESSAGES:
        return chat_answer_to_messages(answer)
    chat = messages_answer_to_chat(answer, created=created) if provider is Dialect.MESSAGES else answer
    return chat if client is Dialect.CHAT else chat_answer_to_responses(chat, request, created=created)


def stream_translator(provider: Dialect, client: Dialect, request: Json, *, created: int) -> StreamTranslator:
    """What translates one stream; see `translate_answer`."""
    if provider is client:
        return UntranslatedStream()
    if client is Dialect.MESSAGES:
        return ChatToMessagesStream()
    to_chat = MessagesToChatStream(created=created) if provider is Dialect.MESSAGES else UntranslatedStream()
    if client is Dialect.CHAT:
        return to_chat
    return ChainedStream(to_chat, ChatToResponsesStream(request, created=created))
