"""A server on h11. `h11-server.py FILE`: writes its port to stdout, then each request that it has seen to its end into FILE, a line each."""

import socket
import sys
import threading
import zlib

import h11

LIMIT = 1 << 20
seen = open(sys.argv[1], "ab", buffering=0)


def serve(link):
    with link:
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
        request, body = None, b""
        while True:
            event = conn.next_event()
            kind = type(event)
            if event is h11.NEED_DATA:
                if conn.they_are_waiting_for_100_continue:
                    link.sendall(conn.send(h11.InformationalResponse(status_code=100, headers=[])))
                conn.receive_data(link.recv(65536))
            elif kind is h11.Request:
                request, body = event, b""
            elif kind is h11.Data:
                body += bytes(event.data)
            elif kind is h11.EndOfMessage:
                line = b"%s %s %d %d" % (request.method, request.target, len(body), zlib.crc32(body))
                seen.write(line + b"\n")
                content = b"" if request.method == b"HEAD" else b"ok"
                answer = conn.send(h11.Response(status_code=200, headers=[("X-Seen", line), ("Content-Length", "2")]))
                answer += conn.send(h11.Data(data=content)) if content else b""
                link.sendall(answer + conn.send(h11.EndOfMessage()))
                if conn.our_state is h11.MUST_CLOSE:
                    return
                conn.start_next_cycle()
            else:
                return


def guarded(link):
    try:
        serve(link)
    except (h11.ProtocolError, OSError):
        pass


server = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(server.getsockname()[1], flush=True)
while True:
    link, _ = server.accept()
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=guarded, args=(link,), daemon=True).start()
