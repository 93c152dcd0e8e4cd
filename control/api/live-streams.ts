import type { FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { ControlIdentity } from "../identity/open-identity.ts";
import type { Authorization } from "./authorization.ts";

export type LiveStreams = {
  /**
   * The signal of a response that lasts while its client listens. It aborts when the client disconnects or is no longer signed in, at the end of berth, and when
   * all streams are in use: then a user with more than a fair share loses the oldest. `beat` runs every few seconds until then. Faults: STREAMS_FULL.
   */
  open(request: FastifyRequest, reply: FastifyReply, beat?: () => Promise<void> | void): AbortSignal;
};

/** `takesOldest`: if all are in use, a user with more than a fair share loses the oldest to a user with less. */
export type StreamLimits = { code: "STREAMS_FULL" | "SHELLS_FULL"; total: number; perUser: number; takesOldest: boolean };

/** Each has a connection and a backlog of up to a megabyte. A page of the console has two at most. */
const FOLLOWED: StreamLimits = { code: "STREAMS_FULL", total: 256, perUser: 64, takesOldest: true };
/** Also how soon the streams of an expired session end. Signing out ends them at once. */
const BEAT_MS = 5_000;

export function openLiveStreams(parts: {
  authorization: Authorization;
  identity: Pick<ControlIdentity, "watchSignOuts">;
  limits?: StreamLimits;
  clock: Clock;
}): LiveStreams {
  const { authorization, identity, limits = FOLLOWED, clock } = parts;
  const { code, total, perUser } = limits;
  const noun = code === "SHELLS_FULL" ? "shells" : "streams";
  /** The ends of open streams, by user, the oldest first. */
  const open = new Map<string, Set<() => void>>();
  const countOf = (userId: string) => open.get(userId)?.size ?? 0;

  const requireFreeStream = (userId: string) => {
    const retry = { retryAfterMs: BEAT_MS };
    if (countOf(userId) >= perUser) throw new Fault(code, `You already have ${perUser} ${noun} open: close some.`, retry);
    const all = [...open.values()].reduce((sum, of) => sum + of.size, 0);
    if (all < total) return;
    const users = open.size + (open.has(userId) ? 0 : 1);
    const share = Math.floor(total / users);
    const [most] = [...open.values()].toSorted((one, other) => other.size - one.size);
    const [oldest] = most ?? [];
    if (!limits.takesOldest || countOf(userId) >= share || most === undefined || most.size <= share || oldest === undefined)
      throw new Fault(code, `${total} ${noun} are open already, ${countOf(userId)} of them yours: close some.`, retry);
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
      requireFreeStream(userId);
      const over = new AbortController();
      let cancel = () => {};
      const check = async () => {
        // A store that cannot be read confirms no session.
        if (!(await authorization.isStillSignedIn(request).catch(() => false))) end();
      };
      const tick = async () => {
        await check();
        if (over.signal.aborted) return;
        await beat();
        if (over.signal.aborted) return;
        cancel = clock.after(BEAT_MS, () => void tick());
      };
      const unwatch = identity.watchSignOuts(() => void check());
      const end = () => {
        if (over.signal.aborted) return;
        remove(userId, end);
        cancel();
        unwatch();
        over.abort(new Error("The stream has ended."));
        // A client that does not read loses its backlog.
        if (!reply.raw.destroyed) cancel = clock.after(BEAT_MS, () => reply.raw.destroy());
      };
      add(userId, end);
      cancel = clock.after(BEAT_MS, () => void tick());
      reply.raw.once("close", () => {
        end();
        cancel();
      });
      if (reply.raw.destroyed) end();
      return over.signal;
    },
  };
}
