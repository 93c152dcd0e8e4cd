import type { FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { ControlIdentity } from "../identity/open-identity.ts";
import type { Admission } from "./admission.ts";

export type LiveStreams = {
  /**
   * For an answer that goes on for as long as its client listens: a signal that aborts when the client is gone, or is no longer signed in, and
   * at the end of berth. `beat` is called every few seconds until then. Faults: STREAMS_FULL.
   */
  open(request: FastifyRequest, reply: FastifyReply, beat?: () => void): AbortSignal;
};

/** Each holds a connection and up to a megabyte of what its client has not taken yet. */
const MOST_STREAMS = 256;
/** Also how soon a session that ran out ends what it opened; one that is ended does so at once. */
const BEAT_MS = 5_000;

export function openLiveStreams(parts: {
  admission: Admission;
  identity: Pick<ControlIdentity, "who" | "watchSignOuts">;
  clock: Clock;
}): LiveStreams {
  const { admission, identity, clock } = parts;
  let open = 0;
  return {
    open: (request, reply, beat = () => undefined) => {
      const { token } = admission.caller(request);
      if (open >= MOST_STREAMS) throw new Fault("STREAMS_FULL", `${MOST_STREAMS} clients already follow what happens.`, { retryAfterMs: BEAT_MS });
      open++;
      const over = new AbortController();
      let cancel = () => {};
      const check = () => {
        if (token === undefined || !identity.who(token)) end();
      };
      const tick = () => {
        check();
        if (over.signal.aborted) return;
        beat();
        cancel = clock.after(BEAT_MS, tick);
      };
      const unwatch = identity.watchSignOuts(check);
      const end = () => {
        if (over.signal.aborted) return;
        open--;
        cancel();
        unwatch();
        over.abort(new Error("The stream is over."));
      };
      cancel = clock.after(BEAT_MS, tick);
      reply.raw.once("close", end);
      if (reply.raw.destroyed) end();
      return over.signal;
    },
  };
}
