import type { IncomingMessage } from "node:http";
import { Fault } from "../../lib/fault.ts";
import type { BusyReport, OpenExchangesReply, PushedReport, ReachedReport, UseReport, WakeRequest, CallersRequest } from "../../gateway/contract.ts";

// The sender is a gateway of this server, so only harmful mistakes are checked. Every parser's fault: REQUEST_INVALID.

/** The largest body, in characters: a report of 100 000 containers in use has 9 million. */
const LONGEST_BODY = 16 * 1_048_576;

export async function readBody(request: IncomingMessage): Promise<unknown> {
  let text = "";
  request.setEncoding("utf8");
  for await (const piece of request) {
    text += String(piece);
    if (text.length > LONGEST_BODY) throw new Fault("REQUEST_INVALID", "The request is too long.");
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new Fault("REQUEST_INVALID", "The request is not JSON.", { cause });
  }
}

export function parseWakeRequest(body: unknown): WakeRequest {
  const { id, userId, ref, traceparent } = fieldsOf(body);
  if (typeof id !== "string" || typeof userId !== "string") throw new Fault("REQUEST_INVALID", "A wake needs id and userId.");
  const { own, session, key } = fieldsOf(ref);
  const by = {
    ...(typeof own === "string" ? { own } : {}),
    ...(typeof session === "string" ? { session } : {}),
    ...(typeof key === "string" ? { key } : {}),
  };
  return { id, userId, ...(ref === undefined ? {} : { ref: by }), ...(typeof traceparent === "string" ? { traceparent } : {}) };
}

export function parseReachedReport(body: unknown): ReachedReport {
  const { id, connectMs } = fieldsOf(body);
  if (typeof id !== "string" || !isCount(connectMs)) throw new Fault("REQUEST_INVALID", "A report of a connect needs id and connectMs.");
  return { id, connectMs };
}

export function parseBusyReport(body: unknown): BusyReport {
  const { id, seconds } = fieldsOf(body);
  if (typeof id !== "string" || !isCount(seconds)) throw new Fault("REQUEST_INVALID", "A report of a busy container needs id and seconds.");
  return { id, seconds };
}

export function parseOpenExchangesReply(body: unknown): OpenExchangesReply {
  const { gateway, ask, count, open } = fieldsOf(body);
  if (typeof gateway !== "string" || !isCount(ask) || !isCount(count) || !Array.isArray(open))
    throw new Fault("REQUEST_INVALID", "A report of open requests needs gateway, ask, count and open.");
  return { gateway, ask, count, open: open as OpenExchangesReply["open"] };
}

export function parseCallersRequest(body: unknown): CallersRequest {
  const { tokens } = fieldsOf(body);
  if (!Array.isArray(tokens) || !tokens.every((token) => typeof token === "string"))
    throw new Fault("REQUEST_INVALID", "A request for the holders of tokens needs tokens.");
  return { tokens };
}

export function parsePushedReport(body: unknown): PushedReport {
  const { repository, reference, by, deleted } = fieldsOf(body);
  if (typeof repository !== "string" || typeof reference !== "string") throw new Fault("REQUEST_INVALID", "A push needs repository and reference.");
  return { repository, reference, ...(typeof by === "string" ? { by } : {}), ...(deleted === true ? { deleted } : {}) };
}

export function parseUseReport(body: unknown): UseReport {
  const { gateway, seq, uses, last } = fieldsOf(body);
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
