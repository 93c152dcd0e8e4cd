"""Reads streams of messages with h11, an HTTP parser that shares nothing with llhttp, and says what it saw.

Stdin: `u32 count`, then per case `u8 kind` (0 requests, 1 responses, 2 responses that end with the connection, 3 requests of a client,
which may put empty lines before them and keep a connection with HTTP/1.0: h11 alone refuses that), `u32 n` and n bytes of methods (for
responses: those of the requests, separated by spaces), `u32 n` and n bytes of stream.
Stdout: `u32 n`, then per case `u32 n` and n bytes: of each message method or status, target or reason, lines, body, trailers and
whether it is complete, every field as its length, a colon and its bytes; then an error's words, if any.
"""

import struct
import sys

import h11

LIMIT = 1 << 20


def field(data):
    return b"%d:" % len(data) + data


def lines(headers):
    raw = headers.raw_items() if hasattr(headers, "raw_items") else headers
    return field(b"".join(field(name) + field(value) for name, value in raw))


class Seen:
    def __init__(self, first, second, headers):
        self.start = field(first) + field(second) + lines(headers)
        self.body = []
        self.trailers = []
        self.complete = False

    def written(self):
        return self.start + field(b"".join(self.body)) + lines(self.trailers) + field(b"1" if self.complete else b"0")


def requests(stream):
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
    conn.receive_data(stream)
    seen = []
    error = b""
    try:
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                break
            kind = type(event)
            if kind is h11.Request:
                if event.http_version != b"1.1":
                    error = b"not HTTP/1.1"
                seen.append(Seen(event.method, event.target, event.headers))
            elif kind is h11.Data:
                seen[-1].body.append(bytes(event.data))
            elif kind is h11.EndOfMessage:
                seen[-1].trailers = event.headers
                seen[-1].complete = True
                conn.send(h11.Response(status_code=204, headers=[]))
                conn.send(h11.EndOfMessage())
                conn.start_next_cycle()
    except h11.ProtocolError as refused:
        error = repr(refused).encode("latin1", "replace")
    return seen, error, conn.trailing_data[0]


def requests_of_client(stream):
    seen = []
    while True:
        # RFC 9112, 2.2: a server ignores at least one. berth ignores more; a request behind more than two counts as none here.
        for _ in range(2):
            stream = stream[2:] if stream.startswith(b"\r\n") else stream
        if not stream:
            return seen, b"", b""
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
        conn.receive_data(stream)
        try:
            keeps = read_one(conn, seen)
        except h11.ProtocolError as refused:
            return seen, repr(refused).encode("latin1", "replace"), b""
        if not keeps:
            return seen, b"", b""
        stream = conn.trailing_data[0]


def read_one(conn, seen):
    """Reads one request. Returns whether another may follow: berth is a gateway, so RFC 9112, 9.3 lets HTTP/1.0 keep the connection."""
    keeps = False
    while True:
        event = conn.next_event()
        kind = type(event)
        if kind is h11.Request:
            seen.append(Seen(event.method, event.target, event.headers))
            named = b",".join(value for name, value in event.headers if name == b"connection").lower()
            options = [option.strip() for option in named.split(b",")]
            keeps = b"close" not in options and (event.http_version == b"1.1" or b"keep-alive" in options)
        elif kind is h11.Data:
            seen[-1].body.append(bytes(event.data))
        elif kind is h11.EndOfMessage:
            seen[-1].trailers = event.headers
            seen[-1].complete = True
            return keeps
        else:
            return False


def responses(stream, methods, ends):
    conn = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    seen = []
    error = b""
    asked = 0

    def ask():
        method = methods[asked] if asked < len(methods) else b"GET"
        conn.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        conn.send(h11.EndOfMessage())

    try:
        ask()
        conn.receive_data(stream)
        if ends:
            conn.receive_data(b"")
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                break
            kind = type(event)
            if kind is h11.ConnectionClosed:
                break
            if kind is h11.InformationalResponse or kind is h11.Response:
                if event.http_version != b"1.1":
                    error = b"not HTTP/1.1"
                seen.append(Seen(b"%d" % event.status_code, event.reason, event.headers))
                if kind is h11.InformationalResponse:
                    seen[-1].complete = True
            elif kind is h11.Data:
                seen[-1].body.append(bytes(event.data))
            elif kind is h11.EndOfMessage:
                seen[-1].trailers = event.headers
                seen[-1].complete = True
                if conn.states[h11.SERVER] is not h11.DONE or conn.trailing_data == (b"", True):
                    break
                conn.start_next_cycle()
                asked += 1
                ask()
    except h11.ProtocolError as refused:
        error = repr(refused).encode("latin1", "replace")
    return seen, error, conn.trailing_data[0]


def main():
    source = sys.stdin.buffer
    sink = sys.stdout.buffer

    def take(size):
        data = source.read(size)
        if len(data) < size:
            sys.exit(0)
        return data

    while True:
        (count,) = struct.unpack("<I", take(4))
        answers = []
        for _ in range(count):
            (kind,) = take(1)
            (size,) = struct.unpack("<I", take(4))
            methods = take(size).split(b" ")
            (size,) = struct.unpack("<I", take(4))
            stream = take(size)
            if kind == 3:
                seen, error, left = requests_of_client(stream)
            else:
                seen, error, left = requests(stream) if kind == 0 else responses(stream, methods, kind == 2)
            verdict = b"".join(message.written() for message in seen) + error
            # Behind a complete message nothing may be left; in one that is not, there may be half of a line.
            if left and (not seen or seen[-1].complete):
                verdict += b"left: " + left
            answers.append(struct.pack("<I", len(verdict)) + verdict)
        answer = b"".join(answers)
        sink.write(struct.pack("<I", len(answer)) + answer)
        sink.flush()


main()
