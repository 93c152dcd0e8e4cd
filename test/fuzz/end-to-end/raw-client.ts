import { connect } from "node:net";
import { connect as connectSecurely } from "node:tls";

/** What came, as latin1, and how it ended. `halfClosed`: nothing had come for a while, so the client ended its direction. */
export type RawReply = { received: string; end: "ended" | "reset" | "open"; halfClosed: boolean };

/** So long without a byte, a client that waits for more ends its direction; and then, at last, gives up. */
const QUIET_MS = 250;
const SILENT_MS = 5_000;

/** Sends these pieces, each in a packet of its own, and reads until the other end closes. */
export function sendRaw({ port, secured = false }: { port: number; secured?: boolean }, pieces: readonly string[]): Promise<RawReply> {
  return new Promise((resolve) => {
    const options = { port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
    const socket = secured ? connectSecurely({ ...options, rejectUnauthorized: false }) : connect(options);
    let received = "";
    let lastAt = performance.now();
    let halfClosed = false;
    const finish = (end: RawReply["end"]) => {
      clearInterval(timer);
      socket.destroy();
      resolve({ received, end, halfClosed });
    };
    const timer = setInterval(() => {
      const quiet = performance.now() - lastAt;
      if (!halfClosed && quiet > QUIET_MS) {
        halfClosed = true;
        lastAt = performance.now();
        socket.end();
      } else if (quiet > SILENT_MS) finish("open");
    }, QUIET_MS / 8);
    const send = (nth: number) => {
      const piece = pieces[nth];
      if (piece === undefined || !socket.writable) return;
      lastAt = performance.now();
      socket.write(Buffer.from(piece, "latin1"), () => setTimeout(send, 2, nth + 1));
    };
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      lastAt = performance.now();
    });
    socket.once("end", () => finish("ended"));
    socket.once("error", () => finish("reset"));
    send(0);
  });
}
