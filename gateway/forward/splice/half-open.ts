import type { Clock } from "../../../clock.ts";
import type { Link } from "../link.ts";

const LOOK_MS = 50;
const INTERIM = "HTTP/1.1 100 Continue\r\n\r\n";

/** What a client waits for. */
type Probed = { answering: boolean; head: { minorVersion: number } };

/**
 * A client that sent its last byte either waits for the answer or is gone, which look the same until something is sent to it: only
 * then does the system of one that is gone say so, and the next write fails. So who waits is sent two interim responses, which every
 * client has to bear (RFC 9110 §15.2). Once its answer has begun nothing can be put in: a client to which nothing flows then counts as
 * gone. HTTP/1.0 has no interim responses; there the answer itself must find out.
 */
export function probeHalfOpen(link: Link, current: () => Probed | undefined, clock: Clock): void {
  let looks = 0;
  let written = link.bytesSent;
  const look = () => {
    // Asked each time: of several requests that were sent at once, another one may be answered by now.
    const exchange = current();
    if (!link.alive || exchange === undefined || looks++ === 2) return;
    if (exchange.answering) {
      // What waits to be taken finds out by itself whether anybody is there.
      if (link.bytesSent === written && link.backlog === 0) return link.destroy();
      // Something was sent after its end: if nobody takes it, the connection breaks.
      written = link.bytesSent;
    } else if (exchange.head.minorVersion === 1) link.sendText(INTERIM);
    clock.after(LOOK_MS, look);
  };
  clock.after(LOOK_MS, look);
}
