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
/** Of one user: a page of the console has two at most. Nobody shall have all of them. */
const MOST_OF_ONE = 64;
/** Also how soon a session that ran out ends what it opened; one that is ended does so at once. */
const BEAT_MS = 5_000;

export function openLiveStreams(parts: { admission: Admission; identity: Pick<ControlIdentity, "watchSignOuts">; clock: Clock }): LiveStreams {
  const { admission, identity, clock } = parts;
  /** By user. */
  const open = new Map<string, number>();
  const count = (userId: string, more: number) => {
    const left = (open.get(userId) ?? 0) + more;
    if (left > 0) open.set(userId, left);
    else open.delete(userId);
  };
  const requireRoom = (userId: string) => {
    const retry = { retryAfterMs: BEAT_MS };
    const all = [...open.values()].reduce((sum, of) => sum + of, 0);
    if (all >= MOST_STREAMS) throw new Fault("STREAMS_FULL", `${MOST_STREAMS} clients already follow what happens.`, retry);
    if ((open.get(userId) ?? 0) >= MOST_OF_ONE) throw new Fault("STREAMS_FULL", `You already follow ${MOST_OF_ONE} streams: close some.`, retry);
  };
  return {
    open: (request, reply, beat = () => undefined) => {
      const { userId } = admission.caller(request);
      requireRoom(userId);
      count(userId, 1);
      const over = new AbortController();
      let cancel = () => {};
      const check = () => {
        if (!admission.isStillSignedIn(request)) end();
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
        count(userId, -1);
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
