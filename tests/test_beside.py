"""Tests for the comparison of benchmarks between two commits (`tests.bench.beside`)."""

from __future__ import annotations

from tests.bench.beside import arguments, numbers_in


def test_options_may_stand_between_the_commit_and_the_benchmarks() -> None:
    given = arguments(["abc123", "--pairs", "3", "latency", "repaint"])

    assert given.commit == "abc123"
    assert given.pairs == 3
    assert given.benchmarks == ["latency", "repaint"]


def test_a_number_has_the_place_of_its_words_and_its_line() -> None:
    numbers = numbers_in("10 updates/s: 1,250.5 ms (target 3)\n100 updates/s: 7 ms\n")

    assert list(numbers.values()) == [10, 1250.5, 100, 7]
    assert len(numbers) == 4
