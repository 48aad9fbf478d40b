import io

from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ops.tunnel import Held
from llmctl.ops.tunnels import Background
from llmctl.render.tunnels import TunnelView, tunnel_line, tunnels_text


def held(state=TunnelState.UP, **more):
    instead_of = more.pop("instead_of", None)
    status = TunnelStatus(name="main", state=state, **more)
    return Held(status=status, url="http://127.0.0.1:40001", instead_of=instead_of)


def test_a_line_says_how_it_does():
    busy = held(
        uptime_s=7260.0, round_trip_ms=41.7, received_bytes=1_500_000, sent_bytes=900, connections=3
    )
    assert tunnel_line(busy.status) == (
        "main up, 2 h 1 min, 42 ms, 1.5 MB in, 900 B out, 2 reconnects"
    )


def test_pipes_get_a_line_per_change():
    out = io.StringIO()
    with TunnelView(out, {}, quiet=False) as view:
        view.show(held(TunnelState.CONNECTING, instead_of=11434))
        view.show(held())
        view.show(held(received_bytes=10))
        view.show(held(TunnelState.DOWN, detail="no answer"))
    assert out.getvalue().splitlines() == [
        "port 11434 is taken; listening at http://127.0.0.1:40001 instead",
        "main connecting, 0 B in, 0 B out",
        "main up, 0 B in, 0 B out",
        "main down, 0 B in, 0 B out, no answer",
    ]


def test_a_machine_that_stays_away_is_said_once():
    out = io.StringIO()
    with TunnelView(out, {}, quiet=False) as view:
        for _ in range(5):
            view.show(held(TunnelState.CONNECTING, detail="connection refused"))
            view.show(held(TunnelState.DOWN, detail="connection refused"))
    assert out.getvalue() == "main connecting, 0 B in, 0 B out, connection refused\n"


def test_quiet_says_nothing():
    out = io.StringIO()
    with TunnelView(out, {}, quiet=True) as view:
        view.show(held())
    assert out.getvalue() == ""


def test_background_tunnels_stand_in_a_table():
    running = Background(name="main", pid=77, started_at=0, updated_at=0, log="l", held=held())
    starting = Background(name="b", pid=78, started_at=0, updated_at=0, log="l")
    assert tunnels_text([running, starting]) == (
        "main  up        http://127.0.0.1:40001  pid 77\nb     starting  -                       pid 78\n"
    )
    assert tunnels_text([]) == "no tunnel runs in the background\n"
