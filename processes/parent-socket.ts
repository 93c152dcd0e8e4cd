import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";

/** What `berth upgrade` and `berth doctor` ask of the first process of the berth that runs, over a Unix socket that only its user can open. */
type ParentActions = {
  /** Hands over to `program`, or to what lies where this one was started from; resolves with its version once that takes requests. */
  handOver(program: string | undefined): Promise<string>;
  /** Goes on as before after that failed: starts what was ended for it. Resolves with this berth's version once all runs. May be repeated. */
  resume(): Promise<string>;
  /** The limits of the process itself, which its children inherit. */
  limits(): ParentLimits;
};

/** `openFiles`: undefined where that is not limited, or not known. */
export type ParentLimits = { pid: number; openFiles?: number | undefined };

/**
 * Answers `POST /hand-over`, `POST /resume` and `GET /limits`. What lies at `path` is a dead process's, or that of a berth that has handed over. `close` ends the
 * listener, and not the request that is being answered.
 */
export async function openParentSocket(path: string, { handOver, resume, limits }: ParentActions, log: Log): Promise<{ close(): void }> {
  const actions: Record<string, (body: { program?: string }) => Promise<object>> = {
    "POST /hand-over": async ({ program }) => ({ version: await handOver(program) }),
    "POST /resume": async () => ({ version: await resume() }),
    "GET /limits": async () => limits(),
  };
  const server = createServer((request, response) => {
    const action = actions[`${request.method} ${request.url}`];
    const answer = (status: number, body: object) =>
      response.writeHead(status, { "content-type": "application/json", connection: "close" }).end(JSON.stringify(body));
    if (!action) return void answer(404, {});
    readBody(request)
      .then(action)
      .then(
        (body) => answer(200, body),
        (error: unknown) => {
          if (!(error instanceof Fault)) log.error({ err: error }, "unexpected error");
          const fault = error instanceof Fault ? error : new Fault("INTERNAL", "An internal error occurred.");
          answer(fault.status, fault.toJSON());
        },
      );
  });
  rmSync(path, { force: true });
  const mask = process.umask(0o177);
  server.listen(path);
  process.umask(mask);
  await once(server, "listening");
  return { close: () => void server.close() };
}

const LONGEST_BODY = 65_536;

/** Who can open the socket is this user, or root: beyond being JSON, its messages are trusted. */
async function readBody(request: IncomingMessage): Promise<{ program?: string }> {
  let text = "";
  for await (const piece of request) {
    text += String(piece);
    if (text.length > LONGEST_BODY) throw new Fault("BODY_TOO_LARGE", `The request is larger than ${LONGEST_BODY} bytes.`);
  }
  return text === "" ? {} : (JSON.parse(text) as { program?: string });
}
