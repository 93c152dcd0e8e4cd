import { Fault } from "../../lib/fault.ts";
import type { Answer, HeaderLine } from "../decision.ts";

/** A failure as the published plugins read it: they compare the content type with `===`, so it has no charset. */
export function containerAnswer(fault: Fault): Answer {
  return answer(fault, JSON.stringify({ "datagrok-error": sentence(fault) }));
}

/** A failure as clients of the REST API read it; anything else shows their user `null`. */
export function apiAnswer(fault: Fault): Answer {
  return answer(fault, JSON.stringify({ "#type": "ApiError", code: fault.status, message: sentence(fault), innerMessage: null }));
}

/** One sentence, and for a failed start the last log lines below it. */
export function sentence(fault: Fault): string {
  if (fault.logs === undefined || fault.logs.length === 0) return fault.message;
  return `${fault.message.replace(/\.$/, "")}. Last log lines:\n${fault.logs.join("\n")}`;
}

function answer(fault: Fault, body: string): Answer {
  const headers: HeaderLine[] = [
    ["Content-Type", "application/json"],
    ["Content-Length", String(Buffer.byteLength(body))],
    ["Cache-Control", "no-store"],
  ];
  if (fault.retryAfterMs !== undefined) headers.push(["Retry-After", String(Math.max(1, Math.ceil(fault.retryAfterMs / 1_000)))]);
  if (fault.status === 401) headers.push(["WWW-Authenticate", "Bearer"]);
  return { status: fault.status, reason: fault.reason, headers, body };
}

/** A bug: no detail leaves the house. */
export function internalFault(cause: unknown): Fault {
  return new Fault("INTERNAL", "Something went wrong here; the log says what", { cause });
}
