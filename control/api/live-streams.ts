import type { FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { ControlIdentity } from "../identity/open-identity.ts";
import type { Authorization } from "./authorization.ts";

export type LiveStreams = {
  /**
   * For an answer that goes on for as long as its client listens: a signal that aborts when the client is gone, or is no longer signed in, and
   * at the end of berth, or when others need the place: where all streams are taken, a user with more than a fair share loses the oldest. `beat` is called every few seconds until then. Faults: STREAMS_FULL.
   */
  open(request: FastifyRequest, reply: FastifyReply, beat?: () => void): AbortSignal;
};

/** Each holds a connection and up to a megabyte of what its client has not taken yet. */
const MOST_STREAMS = 256;
/** Of one user, a quarter of them: a page of the console has two at most. */
const MOST_OF_ONE = MOST_STREAMS / 4;
/** Also how soon a session that ran out ends what it opened; one that is ended does so at once. */
const BEAT_MS = 5_000;

export function openLiveStreams(parts: {
  authorization: Authorization;
  identity: Pick<ControlIdentity, "watchSignOuts">;
  clock: Clock;
}): LiveStreams {
  const { authorization, identity, clock } = parts;
  /** What ends each open stream, by user; the oldest first. */
  const open = new Map<string, Set<() => void>>();
  const countOf = (userId: string) => open.get(userId)?.size ?? 0;

  /** Where all are taken, who has more than a fair share gives the oldest one up for who has less. */
  const requireRoom = (userId: string) => {
    const retry = { retryAfterMs: BEAT_MS };
    if (countOf(userId) >= MOST_OF_ONE) throw new Fault("STREAMS_FULL", `You already follow ${MOST_OF_ONE} streams: close some.`, retry);
    const all = [...open.values()].reduce((sum, of) => sum + of.size, 0);
    if (all < MOST_STREAMS) return;
    const users = open.size + (open.has(userId) ? 0 : 1);
    const share = Math.floor(MOST_STREAMS / users);
    const [most] = [...open.values()].toSorted((one, other) => other.size - one.size);
    const [oldest] = most ?? [];
    if (countOf(userId) >= share || most === undefined || most.size <= share || oldest === undefined)
      throw new Fault("STREAMS_FULL", `${MOST_STREAMS} streams are open already, ${countOf(userId)} of them yours: close some.`, retry);
    oldest();
  };
  const add = (userId: string, end: () => void) => {
    const mine = open.get(userId) ?? new Set();
    open.set(userId, mine.add(end));
  };
  const remove = (userId: string, end: () => void) => {
    open.get(userId)?.delete(end);
    if (countOf(userId) === 0) open.delete(userId);
  };

  return {
    open: (request, reply, beat = () => undefined) => {
      const { userId } = authorization.caller(request);
      requireRoom(userId);
      const over = new AbortController();
      let cancel = () => {};
      const check = () => {
        if (!authorization.isStillSignedIn(request)) end();
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
        remove(userId, end);
        cancel();
        unwatch();
        over.abort(new Error("The stream is over."));
        // What its client does not take is kept for it no longer.
        if (!reply.raw.destroyed) cancel = clock.after(BEAT_MS, () => reply.raw.destroy());
      };
      add(userId, end);
      cancel = clock.after(BEAT_MS, tick);
      reply.raw.once("close", () => {
        end();
        cancel();
      });
      if (reply.raw.destroyed) end();
      return over.signal;
    },
  };
}
