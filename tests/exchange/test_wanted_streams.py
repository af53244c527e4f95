"""What is asked of a connection, and what an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.frames import ControlReply
from orderbook_desktop.exchange.wanted_streams import Command, Confirmed, Refused, WantedStreams


def commands_of(streams: WantedStreams, now: float = 0.0) -> list[Command]:
    """Return everything that is to be sent at `now`."""
    commands = []
    while (command := streams.next_command(now)) is not None:
        commands.append(command)
    return commands


def test_what_the_address_named_is_confirmed_and_needs_no_command() -> None:
    streams = WantedStreams(["BTCUSDT"])
    streams.want(["BTCUSDT"])
    assert streams.confirmed == {"BTCUSDT"}
    assert not streams.has_command(0.0)


def test_a_new_wish_is_asked_for_and_confirmed() -> None:
    streams = WantedStreams([])
    streams.want(["BTCUSDT", "ETHUSDT"])
    [command] = commands_of(streams)
    assert (command.method, command.streams) == ("SUBSCRIBE", ["BTCUSDT", "ETHUSDT"])
    assert streams.confirmed == set()
    answer = streams.answered(ControlReply(command.number), 0.0)
    assert answer == Confirmed(["BTCUSDT", "ETHUSDT"])
    assert streams.confirmed == {"BTCUSDT", "ETHUSDT"}


def test_many_quick_switches_cost_two_commands() -> None:
    streams = WantedStreams(["M0"])
    for index in range(50):
        streams.unwant([f"M{index}"])
        streams.want([f"M{index + 1}"])
    sent = [(command.method, command.streams) for command in commands_of(streams)]
    assert sent == [("SUBSCRIBE", ["M50"]), ("UNSUBSCRIBE", ["M0"])]


def test_a_wish_that_comes_back_costs_nothing() -> None:
    streams = WantedStreams(["BTCUSDT"])
    streams.unwant(["BTCUSDT"])
    streams.want(["BTCUSDT"])
    assert commands_of(streams) == []
    assert streams.confirmed == {"BTCUSDT"}


def test_an_answer_to_an_older_subscription_is_void() -> None:
    streams = WantedStreams([])
    streams.want(["BTCUSDT"])
    [first] = commands_of(streams)
    streams.unwant(["BTCUSDT"])
    commands_of(streams)
    streams.want(["BTCUSDT"])
    [third] = commands_of(streams)
    assert streams.answered(ControlReply(first.number), 0.0) == Confirmed([])
    assert streams.answered(ControlReply(third.number), 0.0) == Confirmed(["BTCUSDT"])


def test_renewing_unsubscribes_then_subscribes() -> None:
    streams = WantedStreams(["BTCUSDT", "ETHUSDT"])
    streams.renew(["BTCUSDT"])
    assert streams.confirmed == {"ETHUSDT"}
    sent = [(command.method, command.streams) for command in commands_of(streams)]
    assert sent == [("UNSUBSCRIBE", ["BTCUSDT"]), ("SUBSCRIBE", ["BTCUSDT"])]


def test_commands_name_a_hundred_streams_at_most() -> None:
    streams = WantedStreams([])
    streams.want(f"M{index}" for index in range(250))
    assert [len(command.streams) for command in commands_of(streams)] == [100, 100, 50]


@pytest.mark.expects_log("refused command 1 for .'XXX'.: Unknown symbol")
def test_a_refused_market_is_asked_for_again_later() -> None:
    streams = WantedStreams([])
    streams.want(["XXX"])
    [command] = commands_of(streams, 10.0)
    refused = ControlReply(command.number, None, "Unknown symbol")
    assert streams.answered(refused, 10.0) == Refused(["XXX"], "Unknown symbol")
    assert not streams.has_command(10.4)
    [again] = commands_of(streams, 11.0)
    assert again.streams == ["XXX"]


@pytest.mark.expects_log("refused command")
def test_repeated_refusals_are_met_with_growing_delays() -> None:
    streams, now, pauses = WantedStreams([]), 0.0, []
    streams.want(["XXX"])
    for _ in range(8):
        [command] = commands_of(streams, now)
        streams.answered(ControlReply(command.number, None, "no"), now)
        began = now
        while not streams.has_command(now):
            now += 0.1
        pauses.append(now - began)
    assert pauses[0] <= 1.2
    assert 14 <= pauses[-1] <= 31


@pytest.mark.expects_log("refused command None")
def test_an_error_that_names_no_command_refuses_nobody() -> None:
    streams = WantedStreams(["BTCUSDT"])
    assert streams.answered(ControlReply(None, None, "odd"), 0.0) == Refused([], "odd")
    assert streams.confirmed == {"BTCUSDT"}


def test_an_answer_that_is_owed_too_long_is_noticed() -> None:
    streams = WantedStreams([], answer_within_s=10.0)
    streams.want(["BTCUSDT"])
    assert not streams.is_overdue(5_000.0)
    [command] = commands_of(streams, 5_000.0)
    assert not streams.is_overdue(5_009.0)
    assert streams.is_overdue(5_010.0)
    streams.answered(ControlReply(command.number), 5_011.0)
    assert not streams.is_overdue(6_000.0)


wishes = st.lists(
    st.tuples(st.sampled_from(["want", "unwant", "renew", "send"]), st.sampled_from("ABC")),
    max_size=40,
)


@given(wishes)
def test_any_wishes_end_with_the_exchange_streaming_exactly_what_is_wanted(
    steps: list[tuple[str, str]],
) -> None:
    streams, streaming, wanted = WantedStreams(["A"]), {"A"}, {"A"}

    def exchange_obeys(command: Command | None) -> None:
        if command is None:
            return
        change = streaming.update if command.method == "SUBSCRIBE" else streaming.difference_update
        change(command.streams)
        streams.answered(ControlReply(command.number), 0.0)

    for step, market in steps:
        if step == "send":
            exchange_obeys(streams.next_command(0.0))
        else:
            getattr(streams, step)([market])
        wanted |= {market} if step == "want" else set()
        wanted -= {market} if step == "unwant" else set()
    while streams.has_command(0.0):
        exchange_obeys(streams.next_command(0.0))
    assert streaming == wanted == streams.confirmed
