import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { Fault, type FaultData } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";

/** The one error body. The first four names are those that clients of a Datagrok server show; the others say the same to programs. */
export type SpawnerError = { "#type": "ApiError"; innerMessage: string } & FaultData;

const text = { type: "string" } as const;
export const SPAWNER_ERROR = {
  type: "object",
  required: ["#type", "code", "message", "innerMessage"],
  properties: {
    "#type": { const: "ApiError" },
    code: text,
    message: text,
    innerMessage: { ...text, description: "the container's last lines, as one text" },
    logs: { type: "array", items: text, description: "the same as lines, oldest first" },
    retryAfterMs: { type: "number" },
  },
} as const;

/** The one place where what goes wrong in a route becomes an answer, and is logged. */
export function answerFault(log: Log) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const route = request.routeOptions.url;
    // Nobody is left to hear it, and what failed is most likely that they went.
    if (reply.raw.destroyed) {
      log.debug({ err: error, route }, "A client went away before its answer.");
      return void reply.hijack();
    }
    const fault = toFault(error, log, { method: request.method, route });
    if (fault.status >= 500 && fault.code !== "INTERNAL") log.warn({ err: fault, route }, "A call to the spawner failed.");
    sendFault(reply, fault);
  };
}

export function sendFault(reply: FastifyReply, fault: Fault): void {
  if (fault.status === 401) reply.header("www-authenticate", "Bearer");
  if (fault.retryAfterMs !== undefined) reply.header("retry-after", String(Math.ceil(fault.retryAfterMs / 1_000)));
  reply.code(fault.status).type("application/json").send(errorBody(fault));
}

/** What is not expected is a bug, which is logged here and told without detail. */
export function toFault(error: unknown, log: Log, where: Record<string, unknown>): Fault {
  if (error instanceof Fault) return error;
  const found = clientFault(error);
  if (found) return found;
  log.error({ err: error, ...where }, "The spawner met an error that it does not know.");
  return new Fault("INTERNAL", "Something went wrong in the spawner. Its log says more.");
}

function errorBody(fault: Fault): SpawnerError {
  return { "#type": "ApiError", innerMessage: fault.logs?.join("\n") ?? "", ...fault.toJSON() };
}

/** What Fastify itself found wrong with a request: its path, its size. */
function clientFault(error: unknown): Fault | undefined {
  const { statusCode, message } = error as Partial<FastifyError>;
  if (!(error instanceof Error) || statusCode === undefined || statusCode >= 500) return undefined;
  if (statusCode === 414) return new Fault("TARGET_TOO_LONG", "A part of the path is longer than any name is.", { cause: error });
  if (statusCode === 413) return new Fault("BODY_TOO_LARGE", "The body is larger than any spec is.", { cause: error });
  return new Fault("REQUEST_INVALID", `${(message ?? "The request is not valid").slice(0, 200).replace(/\.$/, "")}.`, { cause: error });
}
