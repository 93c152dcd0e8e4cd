import { Agent, type Dispatcher, request } from "undici";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { answerFault, brokenOff, isFault } from "./faults.ts";
import { LINES } from "./wire.ts";

/** How this side shows who it is: the key that both know, or a token that is made for each call. */
export type SpawnerAuth = { key: string } | { token(): Promise<string> };

export type SpawnerAt = {
  host: string;
  port: number;
  /** Speak TLS; whose certificates are believed is Node's own to say. */
  tls: boolean;
  auth: SpawnerAuth;
};

export type Question = {
  method: "GET" | "POST" | "DELETE";
  path: string;
  body?: object;
  signal: AbortSignal;
  /** What begins the sentence of a failure, such as "Stopping x". */
  doing: string;
  /** Until the head of the answer, in milliseconds. */
  ms?: number;
};

export type Ask = {
  /** Where it is, for people. */
  name: string;
  /** One JSON value; undefined for a service that is not known there. Faults: what the spawner answered with, ENGINE_UNREACHABLE, ENGINE_FAILED. */
  value(question: Question): Promise<unknown>;
  /** The body as it comes, which ends with the signal or by itself. Faults, before its first byte: the same. */
  stream(question: Question): Promise<AsyncIterable<Buffer>>;
  close(): Promise<void>;
};

/** The spawner asks its engine, which has 30 s. */
const ANSWER_MS = 45_000;
const CONNECT_MS = 10_000;
const LONGEST_ANSWER = 16 * 1_048_576;

/** Opens no connection until it is asked something. */
export function openAsk({ host, port, tls, auth }: SpawnerAt, clock: Clock): Ask {
  const name = `${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  // No connection is used twice: one that the spawner closes while it is taken again looks like a spawner that is away.
  const dispatcher = new Agent({ pipelining: 0, connect: { timeout: CONNECT_MS }, headersTimeout: 0, bodyTimeout: 0 });

  const send = async ({ method, path, body, signal, doing, ms = ANSWER_MS }: Question): Promise<Dispatcher.ResponseData> => {
    const overdue = () => new Fault("ENGINE_FAILED", `${doing}: the spawner at ${name} did not answer within ${ms / 1_000} s.`);
    // Only the head is waited for under the limit: the body has the caller's signal.
    const own = new AbortController();
    const call = AbortSignal.any([signal, own.signal]);
    try {
      const credential = "key" in auth ? { "x-api-key": auth.key } : { authorization: `Bearer ${await auth.token()}` };
      const json = body === undefined ? {} : { body: JSON.stringify(body) };
      const headers = { ...credential, accept: `${LINES}, application/json, text/plain`, ...(body && { "content-type": "application/json" }) };
      const answered = request(name + path, { dispatcher, method, headers, ...json, signal: call });
      answered.catch(() => undefined);
      return await withTimeout({ clock, ms, overdue, signal }, () => answered);
    } catch (error) {
      own.abort(error);
      signal.throwIfAborted();
      throw isFault(error) ? error : brokenOff(error, doing, name);
    }
  };

  const text = async ({ body }: Dispatcher.ResponseData, { signal, doing }: Question): Promise<string> => {
    const overdue = () => new Fault("ENGINE_FAILED", `${doing}: the spawner at ${name} did not finish its answer.`);
    const read = async () => {
      let whole = "";
      for await (const piece of body.setEncoding("utf8")) {
        whole += String(piece);
        if (whole.length > LONGEST_ANSWER) throw new Fault("ENGINE_FAILED", `${doing}: the spawner at ${name} answered more than can be meant.`);
      }
      return whole;
    };
    try {
      return await withTimeout({ clock, ms: ANSWER_MS, overdue, signal }, read);
    } catch (error) {
      body.destroy();
      signal.throwIfAborted();
      throw isFault(error) ? error : brokenOff(error, doing, name);
    }
  };

  return {
    name,
    value: async (question) => {
      const answer = await send(question);
      const said = await text(answer, question);
      const refused = answer.statusCode < 300 ? undefined : answerFault(answer.statusCode, said, question.doing, name);
      // A route that is missing is another fault by now.
      if (refused?.status === 404) return undefined;
      if (refused) throw refused;
      try {
        return JSON.parse(said) as unknown;
      } catch (cause) {
        throw new Fault("ENGINE_FAILED", `${question.doing}: what ${name} answered is not JSON; is it a berth spawner?`, { cause });
      }
    },
    stream: async (question) => {
      const answer = await send(question);
      if (answer.statusCode < 300) return answer.body as AsyncIterable<Buffer>;
      throw answerFault(answer.statusCode, await text(answer, question), question.doing, name);
    },
    close: () => dispatcher.destroy(),
  };
}
