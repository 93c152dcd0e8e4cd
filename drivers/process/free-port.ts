import { advisedFault } from "../advice.ts";
import { createServer } from "node:net";

/** Below the range from which the kernel takes ports for outgoing connections, so that none of those takes it meanwhile. */
const FIRST = 20_000;
const LAST = 32_767;
const TRIES = 100;

/** A port that nobody listens on and that no other service here was given. */
export async function freePort(taken: ReadonlySet<number>): Promise<number> {
  for (let tried = 0; tried < TRIES; tried++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!taken.has(port) && (await isFree(port))) return port;
  }
  throw advisedFault("NO_CAPACITY", `No free port was found between ${FIRST} and ${LAST}.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    // On all addresses, as an app may listen.
    probe.listen({ port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
