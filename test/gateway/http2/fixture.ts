import { connect, type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders, type IncomingHttpHeaders } from "node:http2";
import type { Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openTlsKeys } from "../../../gateway/tls-keys.ts";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { type GatewayFixture, openStand } from "../stand.ts";

export type Http2Stand = GatewayFixture & { cert: string; session(): ClientHttp2Session };

/** A gateway whose edge offers HTTP/2. */
export async function openHttp2Stand(t: Test, options: Parameters<typeof openStand>[1] = {}): Promise<Http2Stand> {
  const folder = tempFolder(t);
  const pair = makeCertificate(folder, "edge");
  const files = { cert: join(folder, "edge.crt"), key: join(folder, "edge.key") };
  writeFileSync(files.cert, pair.cert);
  writeFileSync(files.key, pair.key);
  const tls = openTlsKeys({ files, clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
  t.teardown(() => tls.close());
  const stand = await openStand(t, { tls, http2: true, ...options });
  return {
    ...stand,
    cert: pair.cert,
    session: () => {
      const session = connect(`https://localhost:${stand.port}`, { ca: pair.cert });
      session.on("error", () => undefined);
      t.teardown(() => session.destroy());
      return session;
    },
  };
}

export type Http2Answer = {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  trailers: IncomingHttpHeaders | undefined;
  informational: IncomingHttpHeaders[];
};

/** Sends a request with a body, or without one. */
export function request(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string | Buffer): Promise<Http2Answer> {
  const stream = session.request({ authorization: "token", ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return answerOf(stream);
}

/** Rejects if the stream is reset. */
export function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  return new Promise((resolve, reject) => {
    const answer: Http2Answer = { status: 0, headers: {}, body: "", trailers: undefined, informational: [] };
    const chunks: Buffer[] = [];
    stream.on("headers", (headers) => answer.informational.push(headers));
    stream.on("response", (headers) => {
      answer.headers = headers;
      answer.status = Number(headers[":status"]);
    });
    stream.on("trailers", (trailers) => (answer.trailers = trailers));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("error", reject);
    stream.once("close", () => {
      if (stream.rstCode !== 0) reject(new Error(`reset with code ${stream.rstCode}`));
      else resolve({ ...answer, body: Buffer.concat(chunks).toString("latin1") });
    });
  });
}
