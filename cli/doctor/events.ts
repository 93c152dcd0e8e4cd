import { Fault } from "../../lib/fault.ts";
import { open } from "./send-request.ts";
import { at, type Chain } from "./check.ts";
import { type Finding, wrong } from "./finding.ts";

const EVERY_MS = 200;
const COUNT = 5;
/** A machine with much to do reads late what came apart; what buffers does so each time. */
const TRIES = 3;

/** Whether events arrive as they are sent, and not all at their end. */
export async function checkEvents(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { found, server, clock } = chain;
  if (found.echo === undefined) return { unlooked: "there is no container to send any" };
  const { id, token } = found.echo;
  const url = at(server, `/api/docker/containers/proxy/${id}/events?every=${EVERY_MS}&count=${COUNT}`);
  const whole = EVERY_MS * (COUNT - 1);
  let widest = 0;
  for (let tried = 0; tried < TRIES; tried++) {
    const spread = await open(url, { headers: { authorization: token, accept: "text/event-stream" }, signal }, async ({ status, stream }) => {
      if (status !== 200) throw new Fault("CHAIN_BROKEN", `The container's events are answered ${status}.`);
      const came: number[] = [];
      for await (const piece of stream) if (String(piece).includes("data:")) came.push(clock.monotonic());
      return (came.at(-1) ?? 0) - (came[0] ?? 0);
    });
    widest = Math.max(widest, spread);
    if (spread > whole / 2) return { says: `${COUNT} events, ${EVERY_MS} ms apart, came over ${spread.toFixed(0)} ms` };
  }
  const what = `${COUNT} events that were sent over ${whole} ms came within ${widest.toFixed(0)} ms: something in front keeps them back.`;
  return { says: "", problems: [wrong(what, "Switch off its response buffering: in nginx `proxy_buffering off` for berth's location.")] };
}
