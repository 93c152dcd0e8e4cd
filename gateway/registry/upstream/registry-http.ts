import { Agent, request } from "undici";
import { Fault } from "../../../lib/fault.ts";

export type Asked = { method: "GET" | "HEAD" | "DELETE"; url: string; headers: Record<string, string>; signal: AbortSignal };
export type Said = { status: number; header(name: string): string | undefined; body: Buffer };

/** Small questions to registries and token servers. Follows no redirect, since one could lead credentials astray. */
export type AskHttp = {
  /** Faults: REGISTRY_UNREACHABLE; rejects with the signal's reason where it aborts. */
  (asked: Asked): Promise<Said>;
  close(): Promise<void>;
};

const CONNECT_MS = 5_000;
const SILENCE_MS = 15_000;
const CONNECTIONS = 16;

const MOST_BYTES = 4 * 1_048_576;

/** With a `socketPath` every question goes there, whatever host it names. */
export function openAskHttp(socketPath?: string): AskHttp {
  const connect = { timeout: CONNECT_MS, ...(socketPath === undefined ? {} : { socketPath }) };
  const agent = new Agent({ connect, headersTimeout: SILENCE_MS, bodyTimeout: SILENCE_MS, connections: CONNECTIONS });
  const ask = async ({ method, url, headers, signal }: Asked): Promise<Said> => {
    try {
      const answer = await request(url, { method, headers, signal, dispatcher: agent });
      const pieces: Buffer[] = [];
      let size = 0;
      for await (const piece of answer.body as AsyncIterable<Buffer>) {
        size += piece.length;
        if (size > MOST_BYTES) throw new Fault("REGISTRY_UNREACHABLE", `${new URL(url).host} answered with more than ${MOST_BYTES} bytes.`);
        pieces.push(piece);
      }
      const header = (name: string) => {
        const value = answer.headers[name];
        return Array.isArray(value) ? value.join(", ") : value;
      };
      return { status: answer.statusCode, header, body: Buffer.concat(pieces) };
    } catch (error) {
      if (error instanceof Fault) throw error;
      if (signal.aborted) throw signal.reason;
      const { code, message } = error as { code?: string; message?: string };
      throw new Fault("REGISTRY_UNREACHABLE", `${new URL(url).host} cannot be reached (${code ?? message}).`, { cause: error });
    }
  };
  return Object.assign(ask, { close: () => agent.destroy() });
}
