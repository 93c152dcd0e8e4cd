import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { LOGIN } from "../identity/open-users.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { isSentOn } from "./standby.ts";

/** The error body that clients can show. */
export type ApiError = { "#type": "ApiError"; code: string; message: string; innerMessage: string };

/** Logs every failure of a route and turns it into a response with `body`. */
export function sendErrors(log: Log, body: (fault: Fault) => ApiError = errorBody) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    // Most likely the failure is that the client left.
    if (reply.raw.destroyed) {
      log.debug({ err: error, route: request.routeOptions.url }, "client disconnected before the response");
      return void reply.hijack();
    }
    const fault = error instanceof Fault ? error : (clientFault(error, request) ?? bug(error, request, log));
    // Deposed meanwhile.
    if (fault.code === "CONTROL_STANDBY" && isSentOn(request.raw)) {
      reply.hijack();
      return void reply.raw.destroy();
    }
    if (fault.status >= 500 && fault.code !== "INTERNAL") log.warn({ err: fault, route: request.routeOptions.url }, "api request failed");
    if (fault.retryAfterMs !== undefined) reply.header("retry-after", String(Math.ceil(fault.retryAfterMs / 1_000)));
    reply.code(fault.status).type("application/json").send(body(fault));
  };
}

export function errorBody(fault: Fault): ApiError {
  return { "#type": "ApiError", code: fault.code, message: fault.message, innerMessage: fault.logs?.join("\n") ?? "" };
}

/** A request that Fastify refused: its schema, its size, its media type. */
function clientFault(error: unknown, request: FastifyRequest): Fault | undefined {
  const { statusCode, message, validation, validationContext } = error as Partial<FastifyError>;
  if (!(error instanceof Error) || statusCode === undefined || statusCode >= 500) return undefined;
  const rule = validationContext === "body" ? (missingBody(request) ?? brokenRule(validation)) : brokenRule(validation);
  return new Fault("REQUEST_INVALID", rule ?? `${message ?? "The request is not valid"}.`, { cause: error });
}

/** A body of another type is not read: `curl -d` alone sends a form. */
function missingBody({ body, routeOptions }: FastifyRequest): string | undefined {
  const [type = "application/json"] = routeOptions.schema?.consumes ?? [];
  return body === undefined || body === null
    ? `The request has no body of type ${type}. Send one, and name this type as its Content-Type.`
    : undefined;
}

/** Patterns that users run into, in words. */
const PATTERN_RULES: Readonly<Record<string, string>> = {
  [LOGIN]: "Logins and groups have letters, digits, ., _ and -, begin with a letter or a digit, and have at most 63 characters.",
};

function brokenRule(validation: FastifyError["validation"]): string | undefined {
  const { keyword, instancePath = "", params } = validation?.[0] ?? {};
  const rule = keyword === "pattern" ? PATTERN_RULES[String(params?.["pattern"])] : undefined;
  return rule && `${instancePath.split("/")[1] ?? "The value"} is not valid. ${rule}`;
}

function bug(error: unknown, request: FastifyRequest, log: Log): Fault {
  log.error({ err: error, method: request.method, route: request.routeOptions.url }, "unexpected error");
  return new Fault("INTERNAL", "Internal error (bug). The server's log has the details.");
}

/** Aborts when the client disconnects before its response. What it requested continues; only waiting for it ends. */
export function clientAbortSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) controller.abort(new Error("The client disconnected."));
  });
  return controller.signal;
}
