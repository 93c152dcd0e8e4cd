import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { internalAnswer, registryAnswer } from "./registry-responses.ts";

/** Berth's credential for a registry may be long: tokens of ECR have some kilobytes. */
const MAX_HEADER_BYTES = 65_536;

/**
 * An HTTP server on a Unix socket of this user alone, behind the registry proxy, which has checked its clients. The fault of a rejected `answer` becomes the
 * response. `signal` aborts when the client leaves.
 */
export async function openPrivateRegistry(
  name: string,
  answer: (request: IncomingMessage, response: ServerResponse, signal: AbortSignal) => Promise<void>,
  log: Log,
): Promise<{ socketPath: string; close(): Promise<void> }> {
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES }, (request, response) => {
    const left = new AbortController();
    response.once("close", () => left.abort(new Error("the client left")));
    answer(request, response, left.signal).catch((error: unknown) => {
      if (response.headersSent || left.signal.aborted) return void response.destroy();
      if (!(error instanceof Fault)) log.error({ err: error, server: name }, "private registry failed");
      const { status, headers, body } = error instanceof Fault ? registryAnswer(error) : internalAnswer(error);
      response.writeHead(status, headers.flat()).end(request.method === "HEAD" ? undefined : body);
    });
  });
  server.requestTimeout = 0;
  const folder = await mkdtemp(join(tmpdir(), "berth-registry-"));
  const socketPath = join(folder, "registry.sock");
  server.listen(socketPath);
  await once(server, "listening");
  await chmod(socketPath, 0o600);
  return {
    socketPath,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
