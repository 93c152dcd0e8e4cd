import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../../../lib/clock.ts";
import { raceAbort } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import { storeFault } from "../../store/store-fault.ts";

/** A client that sends less than this in each period is given up. */
const SLOWEST_BYTES = 65_536;
const SLOWEST_PERIOD_MS = 30_000;

/** Writes an upload into the file `to`. Faults: PACKAGE_TOO_LARGE, UPLOAD_TOO_SLOW, STORE_FULL, STORE_READ_ONLY. */
export async function receiveUpload(options: {
  body: AsyncIterable<Buffer>;
  to: string;
  maxBytes: number;
  clock: Clock;
  signal: AbortSignal;
}): Promise<void> {
  const { body, to, maxBytes, clock, signal } = options;
  const slow = new AbortController();
  let bytes = 0;
  let before = 0;
  const look = () => {
    if (bytes - before < SLOWEST_BYTES) {
      const sentence = `The package arrives too slowly: ${bytes - before} bytes in ${SLOWEST_PERIOD_MS / 1_000} s; ${SLOWEST_BYTES} are needed.`;
      return slow.abort(new Fault("UPLOAD_TOO_SLOW", sentence));
    }
    before = bytes;
    cancel = clock.after(SLOWEST_PERIOD_MS, look);
  };
  let cancel = clock.after(SLOWEST_PERIOD_MS, look);
  const ended = AbortSignal.any([signal, slow.signal]);
  async function* counted(): AsyncIterable<Buffer> {
    const chunks = body[Symbol.asyncIterator]();
    for (;;) {
      // The client's next bytes may never come.
      const { value, done } = await raceAbort(chunks.next(), ended);
      if (done === true) return;
      bytes += value.length;
      if (bytes > maxBytes) throw new Fault("PACKAGE_TOO_LARGE", `The package is larger than ${maxBytes} bytes.`);
      yield value;
    }
  }
  try {
    await pipeline(counted(), createWriteStream(to, { flags: "wx" }), { signal: ended });
  } catch (error) {
    if (slow.signal.aborted) throw slow.signal.reason;
    throw storeFault(error, to);
  } finally {
    cancel();
  }
}
