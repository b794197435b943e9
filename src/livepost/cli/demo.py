"""`livepost demo`: see what live connections are worth."""

from __future__ import annotations

from collections.abc import Sequence

from livepost.cli import event_loop
from livepost.cli.parser import Parser
from livepost.cli.talk import print_data
from livepost.rehearsal.demo import CONNECTIONS, USERS, Measured, compare, deliver_samples, shown_body

_DESCRIPTION = f"""\
Start the practice server on a free port, deliver three sample records to it, then
{USERS:,} generated users twice: with a new connection per record, and over live ones."""


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration and print its table."""
    Parser("livepost demo", "livepost demo", _DESCRIPTION).parse(arguments)
    event_loop.run(_demonstrate())
    return 0


async def _demonstrate() -> None:
    print_data("Three records, one live connection:\n")
    await deliver_samples(_show_answer)
    print_data(f"\n{USERS:,} users, {CONNECTIONS} at a time: a new connection for each, then live ones ...\n")
    print_data(_table(*await compare()))


def _show_answer(record: bytes, status: int, answer: bytes) -> None:
    print_data(f"  {shown_body(record)}")
    print_data(f"    -> {status} {answer.decode(errors='replace')}")


def _table(before: Measured, after: Measured) -> str:
    rows = [
        ("connections", before.name, after.name, "factor"),
        _row("records/s", before.records_per_second, after.records_per_second, ",.0f"),
        _row("TCP handshakes (server's count)", before.handshakes, after.handshakes, ",.0f"),
        _row("handshakes per 1,000 records", before.handshakes_per_1000, after.handshakes_per_1000, ",.1f"),
        _row("records per connection", before.records_per_connection, after.records_per_connection, ",.1f"),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for label, *numbers in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([label.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _row(label: str, before: float, after: float, form: str) -> tuple[str, str, str, str]:
    larger, smaller = max(before, after), min(before, after)
    direction = "more" if after > before else "fewer"
    return label, format(before, form), format(after, form), f"{larger / smaller:,.1f} x {direction}"
