import { Agent as PlainAgent, request as requestPlainly, type ClientRequest, type IncomingMessage } from "node:http";
import { Agent as SecureAgent, request as requestSecurely } from "node:https";
import { crc32 } from "node:zlib";
import type { ClientSession } from "./client-session.ts";
import { bodyOf, targetOf, type ContainerPlan } from "./plan.ts";

/** Where a client reaches the gateway. */
export type SoakTarget = {
  port: number;
  secured: boolean;
  agent: PlainAgent | SecureAgent;
  /** Of clients that speak HTTP/2. */
  http2?: ClientSession;
  pathOf(id: string): string;
};

export type SentRequest = { method: string; containerId: string; plan: ContainerPlan; bodyLength: number; chunked: boolean };

/**
 * `broken`: the connection broke before the response was complete. `answer`: what berth responded instead of the container. `not repeated`: it had to,
 * because the request may not be sent twice. `id`: the plan's or the WebSocket's, by which the gateway finds the exchange.
 */
export type CheckedResponse = { outcome: "right" | "refused" | "not repeated" | "broken"; answer?: string; id?: string };

/** A response that belongs to another request, or bytes of none. */
export class WrongResponse extends Error {}

/** Says where the bytes begin to differ, and what came there. */
export function otherBytes(id: string, expected: Buffer, body: Buffer): WrongResponse {
  let at = 0;
  while (body[at] === expected[at]) at++;
  const came = body.subarray(at, at + 16);
  const from = expected.indexOf(came);
  const where = from < 0 ? "nowhere in its own" : `at byte ${from} of its own`;
  return new WrongResponse(
    `the response to ${id} has bytes of another one from byte ${at} of ${body.length} on: ${came.toString("hex")}, ${where} ${expected.length}`,
  );
}

export function openAgent(secured: boolean): PlainAgent | SecureAgent {
  const options = { keepAlive: true, maxFreeSockets: 32 };
  return secured ? new SecureAgent({ ...options, rejectUnauthorized: false }) : new PlainAgent(options);
}

/** Starts a request. */
export function startRequest(
  { port, secured, agent, pathOf }: SoakTarget,
  { method, containerId, plan, bodyLength, chunked }: SentRequest,
): ClientRequest {
  const headers: Record<string, string | number> = {
    Authorization: "token",
    ...(bodyLength === 0 || chunked ? {} : { "Content-Length": bodyLength }),
  };
  if (bodyLength > 0 && chunked) headers["Transfer-Encoding"] = "chunked";
  const ask = secured ? requestSecurely : requestPlainly;
  return ask({ port, host: "127.0.0.1", method, path: pathOf(containerId) + targetOf(plan), agent, headers });
}

export function sendBody(outgoing: ClientRequest, { plan, bodyLength }: SentRequest, pieces: number): void {
  const body = bodyOf(`${plan.id} sent`, bodyLength);
  const step = Math.max(1, Math.ceil(body.length / pieces));
  for (let at = 0; at < body.length; at += step) outgoing.write(body.subarray(at, at + step));
  outgoing.end();
}

/** Sends a request and checks its response. `slowly`: reads with pauses. Resends once where a kept connection was closed just then. */
export async function exchangeChecked(target: SoakTarget, sent: SentRequest, { pieces = 1, slowly = false } = {}): Promise<CheckedResponse> {
  for (let tries = 0; ; tries++) {
    const outgoing = startRequest(target, sent);
    const answered = new Promise<CheckedResponse | "raced">((resolve, reject) => {
      let hasAnswer = false;
      outgoing.once("error", () => resolve(hasAnswer || !outgoing.reusedSocket || tries > 2 ? { outcome: "broken" } : "raced"));
      outgoing.once("response", (incoming) => {
        hasAnswer = true;
        checkResponse(sent, incoming, slowly).then(resolve, reject);
      });
    });
    sendBody(outgoing, sent, pieces);
    const outcome = await answered;
    if (outcome !== "raced") return outcome;
  }
}

async function checkResponse({ method, plan, bodyLength }: SentRequest, incoming: IncomingMessage, slowly: boolean): Promise<CheckedResponse> {
  const pieces: Buffer[] = [];
  let complete = true;
  try {
    for await (const piece of incoming as AsyncIterable<Buffer>) {
      pieces.push(piece);
      if (slowly) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } catch {
    complete = false;
  }
  const { statusCode = 0, headers } = incoming;
  const id = headers["x-id"];
  // berth's own response.
  if (id === undefined && [502, 503, 504].includes(statusCode))
    return { outcome: "refused", answer: `${method} ${statusCode} ${Buffer.concat(pieces).toString()}` };
  if (id !== plan.id) throw new WrongResponse(`the response to ${plan.id} is ${statusCode} with the id ${String(id)}`);
  if (statusCode === 413) return { outcome: "right" };
  const sum = headers["x-sum"];
  if (sum !== String(crc32(bodyOf(`${plan.id} sent`, bodyLength)))) throw new WrongResponse(`the container got another body than ${plan.id} sent`);
  const body = Buffer.concat(pieces);
  const expected = method === "HEAD" || plan.status === 204 || plan.status === 304 ? bodyOf(plan.id, 0) : bodyOf(plan.id, plan.length);
  if (!expected.subarray(0, body.length).equals(body)) throw otherBytes(plan.id, expected, body);
  if (!complete) return { outcome: "broken" };
  if (body.length !== expected.length)
    throw new WrongResponse(`the response to ${plan.id} has ${body.length} of ${expected.length} bytes, and looks complete`);
  return { outcome: "right" };
}
