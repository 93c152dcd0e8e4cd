import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { nextPage } from "../../lib/registry-client/next-page.ts";
import { exchange, readAll } from "../server/exchange.ts";
import { isOnThisMachine } from "./registry-address.ts";
import { buyToken, type Send } from "./registry-token.ts";

/** What is asked of a registry: paths below `/v2`. */
export type V2 = {
  /** JSON. Faults: ENTITY_NOT_FOUND, NOT_PERMITTED, REGISTRY_UNREACHABLE. */
  get<T>(path: string, accept?: string): Promise<{ said: T; digest: string | undefined; bytes: number }>;
  /** All pages of a list, which `field` has. */
  pages(path: string, field: string): Promise<string[]>;
  delete(path: string): Promise<void>;
};

const BY_STATUS: Readonly<Record<number, FaultCode>> = { 401: "NOT_PERMITTED", 403: "NOT_PERMITTED", 404: "ENTITY_NOT_FOUND" };

const ASK_MS = 30_000;
const PAGE = 1_000;
/** Where a registry leads in circles. */
const MOST_PAGES = 1_000;

/** `key` buys the tokens that the registry wants, from wherever its challenge says. */
export function openV2({ host, key, clock }: { host: string; key: string; clock: Clock }): V2 {
  const origin = new URL(`${isOnThisMachine(host) ? "http" : "https"}://${host}`);
  const tokens = new Map<string, string>();

  const send: Send = async (url, method, headers) => {
    const over = new AbortController();
    const late = () => new Fault("REGISTRY_UNREACHABLE", `${host} did not answer within ${ASK_MS / 1_000} s.`);
    const signal = clock.deadline(ASK_MS, late, over.signal);
    try {
      const answer = await exchange({ url }, { method, path: "", headers, signal });
      return { answer, text: await readAll(answer) };
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      const { code, message } = cause as { code?: string; message: string };
      throw new Fault("REGISTRY_UNREACHABLE", `${new URL(url).host} cannot be reached (${code ?? message}).`, { cause });
    } finally {
      over.abort();
    }
  };

  const ask = async (method: string, path: string, accept = "application/json") => {
    const scope = `${method} ${path.split("?")[0]}`;
    for (let tried = false; ; tried = true) {
      const known = tokens.get(scope);
      const headers = { accept, ...(known === undefined ? {} : { authorization: `Bearer ${known}` }) };
      let { answer, text } = await send(`${origin.origin}${path}`, method, headers);
      // What is kept elsewhere is fetched from there, without our token.
      const elsewhere = method === "GET" && isRedirect(answer.statusCode) ? URL.parse(answer.headers.location ?? "", origin) : null;
      if (elsewhere) ({ answer, text } = await send(elsewhere.href, "GET", {}));
      const status = answer.statusCode ?? 500;
      if (status < 300) return { answer, text };
      const bought = status === 401 && !tried ? await buyToken(answer.headers["www-authenticate"], { origin, key, send }) : undefined;
      if (bought === undefined) throw refusal(status, text);
      tokens.set(scope, bought);
    }
  };

  const refusal = (status: number, text: string): Fault => {
    const { errors } = (readJson(text) ?? {}) as { errors?: { message?: string }[] };
    const said = errors?.[0]?.message ?? `it answered ${status}`;
    const code = BY_STATUS[status] ?? (status >= 502 ? "REGISTRY_UNREACHABLE" : "REGISTRY_FAILED");
    return new Fault(code, `The registry ${host} refuses: ${said}.`);
  };

  return {
    get: async <T>(path: string, accept?: string) => {
      const { answer, text } = await ask("GET", `/v2${path}`, accept);
      return { said: readJson(text) as T, digest: answer.headers["docker-content-digest"] as string | undefined, bytes: Buffer.byteLength(text) };
    },
    pages: async (path, field) => {
      const found: string[] = [];
      let next: string | undefined = `${path.slice(1)}?n=${PAGE}`;
      for (let page = 0; next !== undefined && page < MOST_PAGES; page++) {
        const { answer, text } = await ask("GET", `/v2/${next}`);
        const said = readJson(text) as Record<string, unknown> | undefined;
        if (Array.isArray(said?.[field])) found.push(...(said[field] as string[]));
        next = nextPage(answer.headers["link"] as string | undefined, next);
      }
      return found;
    },
    delete: async (path) => void (await ask("DELETE", `/v2${path}`)),
  };
}

function isRedirect(status: number = 0): boolean {
  return status >= 300 && status < 400;
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
