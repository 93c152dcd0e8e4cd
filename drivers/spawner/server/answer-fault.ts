import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { Fault, type FaultData } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";

/** The error body of every route. Clients of a Datagrok server show the first four names; the others are for programs. */
type SpawnerError = { "#type": "ApiError"; innerMessage: string } & FaultData;

const text = { type: "string" } as const;
export const SPAWNER_ERROR = {
  type: "object",
  required: ["#type", "code", "message", "innerMessage"],
  properties: {
    "#type": { const: "ApiError" },
    code: text,
    message: text,
    innerMessage: { ...text, description: "the container's log tail, as one text" },
    logs: { type: "array", items: text, description: "the same as lines, oldest first" },
    retryAfterMs: { type: "number" },
  },
} as const;

/** The only place where an error of a route becomes a response, and is logged. */
export function answerFault(log: Log) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const route = request.routeOptions.url;
    // The client has gone away, which is most likely the reason of the error.
    if (reply.raw.destroyed) {
      log.debug({ err: error, route }, "client disconnected before its response");
      return void reply.hijack();
    }
    const fault = toFault(error, log, { method: request.method, route });
    if (fault.status >= 500 && fault.code !== "INTERNAL") log.warn({ err: fault, route }, "spawner call failed");
    sendFault(reply, fault);
  };
}

export function sendFault(reply: FastifyReply, fault: Fault): void {
  if (fault.status === 401) reply.header("www-authenticate", "Bearer");
  if (fault.retryAfterMs !== undefined) reply.header("retry-after", String(Math.ceil(fault.retryAfterMs / 1_000)));
  reply.code(fault.status).type("application/json").send(errorBody(fault));
}

/** An unexpected error is a bug: logged here, answered without details. */
export function toFault(error: unknown, log: Log, where: Record<string, unknown>): Fault {
  if (error instanceof Fault) return error;
  const fault = clientFault(error);
  if (fault) return fault;
  log.error({ err: error, ...where }, "unexpected error");
  return new Fault("INTERNAL", "Something went wrong in the spawner. Its log says more.");
}

function errorBody(fault: Fault): SpawnerError {
  return { "#type": "ApiError", innerMessage: fault.logs?.join("\n") ?? "", ...fault.toJSON() };
}

/** Fastify's own errors about a request: its path, its size. */
function clientFault(error: unknown): Fault | undefined {
  const { statusCode, message } = error as Partial<FastifyError>;
  if (!(error instanceof Error) || statusCode === undefined || statusCode >= 500) return undefined;
  if (statusCode === 414) return new Fault("TARGET_TOO_LONG", "A part of the path is longer than any name is.", { cause: error });
  if (statusCode === 413) return new Fault("BODY_TOO_LARGE", "The body is larger than any spec is.", { cause: error });
  return new Fault("REQUEST_INVALID", `${(message ?? "The request is not valid").slice(0, 200).replace(/\.$/, "")}.`, { cause: error });
}
