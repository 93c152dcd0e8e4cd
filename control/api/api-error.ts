import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";

/** The only error body that clients can show. */
export type ApiError = { "#type": "ApiError"; code: string; message: string; innerMessage: string };

/** The one place where what goes wrong in a route becomes an answer, which `body` words, and is logged. */
export function sendErrors(log: Log, body: (fault: Fault) => ApiError = errorBody) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    // Nobody is left to hear it, and what failed is most likely that they went.
    if (reply.raw.destroyed) {
      log.debug({ err: error, route: request.routeOptions.url }, "A client went away before its answer.");
      return void reply.hijack();
    }
    const fault = error instanceof Fault ? error : (clientFault(error) ?? bug(error, request, log));
    if (fault.status >= 500 && fault.code !== "INTERNAL") log.warn({ err: fault, route: request.routeOptions.url }, "A call to the API failed.");
    if (fault.retryAfterMs !== undefined) reply.header("retry-after", String(Math.ceil(fault.retryAfterMs / 1_000)));
    reply.code(fault.status).type("application/json").send(body(fault));
  };
}

export function errorBody(fault: Fault): ApiError {
  return { "#type": "ApiError", code: fault.code, message: fault.message, innerMessage: fault.logs?.join("\n") ?? "" };
}

/** What Fastify itself found wrong with a request: its schema, its size, its media type. */
function clientFault(error: unknown): Fault | undefined {
  const { statusCode, message } = error as Partial<FastifyError>;
  if (!(error instanceof Error) || statusCode === undefined || statusCode >= 500) return undefined;
  return new Fault("REQUEST_INVALID", `${message ?? "The request is not valid"}.`, { cause: error });
}

function bug(error: unknown, request: FastifyRequest, log: Log): Fault {
  log.error({ err: error, method: request.method, route: request.routeOptions.url }, "The API met an error that it does not know.");
  return new Fault("INTERNAL", "Something went wrong on the server. Its log says more.");
}

/** Aborts when the client goes away before it has its answer. What it wished goes on; only waiting for it ends. */
export function clientAbortSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new Error("The client went away."));
  });
  return gone.signal;
}
