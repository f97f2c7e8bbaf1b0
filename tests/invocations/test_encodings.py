"""Public tokenizers: whose they are, that they count as they should, and that cut texts count as whole ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.encodings import Encoding, counter, encoding_of, pieces

O200K, CL100K = Encoding.O200K, Encoding.CL100K


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", O200K),
        ("gpt-4o-mini-2024-07-18", O200K),
        ("chatgpt-4o-latest", O200K),
        ("gpt-4.1-nano", O200K),
        ("gpt-5", O200K),
        ("gpt-5.1-codex", O200K),
        ("o1", O200K),
        ("o3-mini", O200K),
        ("o4-mini", O200K),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", O200K),
        ("gpt-4", CL100K),
        ("gpt-4-turbo", CL100K),
        ("gpt-3.5-turbo-0125", CL100K),
        ("gpt-35-turbo", CL100K),
        ("ft:gpt-3.5-turbo-0125:acme::id", CL100K),
        ("text-embedding-3-small", CL100K),
        ("gpt-oss-120b", None),
        ("gpt-stub", None),
        ("gpt-45", None),
        ("gpt-4ox", None),
        ("gpt-50", None),
        ("o1x", None),
        ("codex-mini-latest", None),
        ("my-gpt-4o", None),
        ("llama3.2", None),
    ],
)
def test_a_model_is_known_by_its_name(model: str, encoding: Encoding | None) -> None:
    assert encoding_of("openai", model) is encoding


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "ollama", "openrouter", "hosted_vllm", ""])
def test_only_openais_own_models_are_known(provider: str) -> None:
    assert encoding_of(provider, "gpt-4o") is None


def test_the_list_says_what_a_deployment_really_is() -> None:
    azure = Deployment(name="m", provider="azure", model="our-mini", protocol="azure", base_url="https://example.com")
    assert azure.encoding is None
    known = Deployment(
        name="m",
        provider="azure",
        model="gpt-4",
        base_model="gpt-4o-mini",
        protocol="azure",
        base_url="https://example.com",
    )
    assert known.encoding is O200K
    other = Deployment(
        name="m", provider="openai", model="gpt-4o", has_own_tokenizer=True, protocol="openai", base_url="http://x"
    )
    assert other.encoding is None


# OpenAI's cookbook, How to count tokens with tiktoken.
@pytest.mark.parametrize(
    ("text", "cl100k", "o200k"),
    [
        ("", 0, 0),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 9, 8),
        ("tiktoken is great!", 6, 6),
    ],
)
def test_counts_are_openais(text: str, cl100k: int, o200k: int) -> None:
    assert (counter(CL100K)(text), counter(O200K)(text)) == (cl100k, o200k)


def test_marks_of_the_tokenizer_are_text_like_any_other() -> None:
    assert counter(O200K)("<|endoftext|>") == 7


def test_half_a_surrogate_pair_is_counted() -> None:
    assert counter(O200K)("a\ud800") == counter(O200K)("a?")
    assert counter(O200K)("a\ud800" * 2000) == counter(O200K)("a?" * 2000)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_long_text_counts_the_same_each_time(encoding: Encoding) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 100
    assert counter(encoding)(text) == counter(encoding)(text) == 1001
    assert counter(encoding)("x" * 100_000) == 12_500


_texts = st.text(st.sampled_from("aAé日1٣ \n\r\t.,'/-–\u0301\u3000\u2028\x1c")) | st.text()


@given(_texts, st.integers(1, 12), st.sampled_from(Encoding))
def test_the_pieces_of_a_text_count_as_the_whole(text: str, size: int, encoding: Encoding) -> None:
    count = counter(encoding)
    cut = list(pieces(text, size))
    assert "".join(piece for piece, _ in cut) == text
    assert all(is_countable for _, is_countable in cut[:-1])
    total = sum(count(piece) if is_countable else len(piece.encode()) for piece, is_countable in cut)
    if all(is_countable for _, is_countable in cut):
        assert total == count(text)
    assert total >= count(text)


def test_a_piece_is_never_long() -> None:
    text = "word " * 1000 + "x" * 1000 + "\nline"
    cut = list(pieces(text, 100))
    assert max(len(piece) for piece, is_countable in cut if is_countable) <= 200
    assert cut[-1] == ("x" * 1000 + "\nline", False) or not cut[-1][1]
