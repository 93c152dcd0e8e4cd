import type { IncomingMessage } from "node:http";
import { Fault } from "../../lib/fault.ts";
import type { BusyReport, OpenExchangesReply, PushedReport, ReachedReport, UseReport, WakeRequest, CallersRequest } from "../../gateway/contract.ts";

// The other side is our own gateway, so only what would do harm is looked for. Faults throughout: REQUEST_INVALID.

/** The largest question, in characters: a report of 100 000 containers in use at once has 9 million. */
const LONGEST_QUESTION = 16 * 1_048_576;

export async function readQuestion(request: IncomingMessage): Promise<unknown> {
  let text = "";
  request.setEncoding("utf8");
  for await (const piece of request) {
    text += String(piece);
    if (text.length > LONGEST_QUESTION) throw new Fault("REQUEST_INVALID", "The question is too long.");
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new Fault("REQUEST_INVALID", "The question is not JSON.", { cause });
  }
}

export function readWakeAsk(question: unknown): WakeRequest {
  const { id, userId, ref, traceparent } = fieldsOf(question);
  if (typeof id !== "string" || typeof userId !== "string") throw new Fault("REQUEST_INVALID", "A wake needs id and userId.");
  const { own, session, key } = fieldsOf(ref);
  const by = {
    ...(typeof own === "string" ? { own } : {}),
    ...(typeof session === "string" ? { session } : {}),
    ...(typeof key === "string" ? { key } : {}),
  };
  return { id, userId, ...(ref === undefined ? {} : { ref: by }), ...(typeof traceparent === "string" ? { traceparent } : {}) };
}

export function readReachedReport(question: unknown): ReachedReport {
  const { id, connectMs } = fieldsOf(question);
  if (typeof id !== "string" || !isCount(connectMs)) throw new Fault("REQUEST_INVALID", "A report of a connect needs id and connectMs.");
  return { id, connectMs };
}

export function readBusyReport(question: unknown): BusyReport {
  const { id, seconds } = fieldsOf(question);
  if (typeof id !== "string" || !isCount(seconds)) throw new Fault("REQUEST_INVALID", "A report of a busy container needs id and seconds.");
  return { id, seconds };
}

export function readOpenAnswer(question: unknown): OpenExchangesReply {
  const { gateway, ask, count, open } = fieldsOf(question);
  if (typeof gateway !== "string" || !isCount(ask) || !isCount(count) || !Array.isArray(open))
    throw new Fault("REQUEST_INVALID", "An answer about what is open needs gateway, ask, count and open.");
  return { gateway, ask, count, open: open as OpenExchangesReply["open"] };
}

export function readWhoAsk(question: unknown): CallersRequest {
  const { tokens } = fieldsOf(question);
  if (!Array.isArray(tokens) || !tokens.every((token) => typeof token === "string"))
    throw new Fault("REQUEST_INVALID", "A question for who holds tokens needs them.");
  return { tokens };
}

export function readPushedAsk(question: unknown): PushedReport {
  const { repository, reference, by, deleted } = fieldsOf(question);
  if (typeof repository !== "string" || typeof reference !== "string") throw new Fault("REQUEST_INVALID", "A push needs repository and reference.");
  return { repository, reference, ...(typeof by === "string" ? { by } : {}), ...(deleted === true ? { deleted } : {}) };
}

export function readUseReport(question: unknown): UseReport {
  const { gateway, seq, uses, last } = fieldsOf(question);
  if (typeof gateway !== "string" || typeof seq !== "number" || !Array.isArray(uses))
    throw new Fault("REQUEST_INVALID", "A report needs gateway, seq and uses.");
  return {
    gateway,
    seq,
    ...(last === true ? { last } : {}),
    uses: uses.map((use) => {
      const { id, open, streams, lastActive } = fieldsOf(use);
      if (typeof id !== "string" || !isCount(open) || !isCount(streams) || !isCount(lastActive))
        throw new Fault("REQUEST_INVALID", "A use in the report is malformed.");
      return { id, open, streams, lastActive };
    }),
  };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
