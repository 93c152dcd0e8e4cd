import type { Clock } from "../../../clock.ts";
import type { Link } from "../link.ts";

const LOOK_MS = 50;
const INTERIM = "HTTP/1.1 100 Continue\r\n\r\n";

/**
 * A client that sent its last byte either waits for the answer or is gone, which look the same until something is sent to it: only
 * then does the system of one that is gone say so, and the next write fails. So who waits is sent two interim responses, which every
 * client has to bear (RFC 9110 §15.2). Once its answer has begun nothing can be put in: a client to which nothing flows then counts as
 * gone. HTTP/1.0 has no interim responses; there the answer itself must find out.
 */
export function probeHalfOpen(link: Link, exchange: { answering: boolean; head: { minorVersion: number } }, clock: Clock): void {
  let looks = 0;
  let written = link.bytesSent;
  const look = () => {
    if (!link.alive || looks++ === 2) return;
    if (exchange.answering) {
      if (link.bytesSent === written) return link.destroy();
      // Something was sent after its end: if nobody takes it, the connection breaks.
      written = link.bytesSent;
    } else if (exchange.head.minorVersion === 1) link.sendText(INTERIM);
    clock.after(LOOK_MS, look);
  };
  clock.after(LOOK_MS, look);
}
