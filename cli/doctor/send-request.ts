import type { IncomingHttpHeaders } from "undici/types/header.js";
import { Agent, request } from "undici";
import { Fault } from "../../lib/fault.ts";

export type Answer = { status: number; headers: IncomingHttpHeaders; text: string };

export type Question = {
  method?: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal: AbortSignal;
  /** Whose certificate the other side must show; "any" for questions that show no secret. By the address where left out. */
  certificate?: string | undefined;
};

const CONNECT_MS = 5_000;
const LONGEST_ANSWER = 16 * 1_048_576;

/** One question; redirects are answers. Faults: CHAIN_BROKEN where there is no answer, with why. */
export async function ask(url: string | URL, question: Question): Promise<Answer> {
  return open(url, question, async ({ statusCode: status, headers, body }) => {
    let text = "";
    for await (const piece of body.setEncoding("latin1")) {
      text += String(piece);
      if (text.length > LONGEST_ANSWER) throw new Fault("CHAIN_BROKEN", `${shown(url)} answers with more than can be meant.`);
    }
    return { status, headers, text: Buffer.from(text, "latin1").toString() };
  });
}

/** The same of an answer that is read as it comes: `take` gets its head and its stream, both of which end with it. */
export async function open<T>(url: string | URL, question: Question, take: (answer: Awaited<ReturnType<typeof request>>) => Promise<T>): Promise<T> {
  const { method = "GET", headers = {}, body, signal, certificate } = question;
  const tls = certificate === undefined ? {} : certificate === "any" ? { rejectUnauthorized: false } : { servername: certificate };
  const dispatcher = new Agent({ connect: { ...tls, timeout: CONNECT_MS }, bodyTimeout: 0, headersTimeout: 0 });
  try {
    return await take(await request(url, { method, headers, body: body ?? null, signal, dispatcher }));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Fault) throw error;
    throw new Fault("CHAIN_BROKEN", `${shown(url)} cannot be reached: ${reasonOf(error)}.`, { cause: error });
  } finally {
    await dispatcher.destroy();
  }
}

/** An address of people's may hold a password, and its query a key. */
export function shown(url: string | URL): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** Why a connection failed, by Node's own word for it. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: string };
  return typeof code === "string" ? code : (message ?? String(error));
}

export function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
