import { Agent, request } from "undici";
import { Fault } from "../fault.ts";
import type { KeyHabits } from "./key-set.ts";
import { trimTrailing } from "../trim-trailing.ts";

/** Who signs tokens, as far as verifying them goes: control over its private socket, or a Datagrok server. */
export type KeyServer = {
  /** The body of a 200 to GET; paths begin with `/api`, as everywhere here. Faults: TOKEN_KEYS_UNKNOWN for anything else. */
  get(path: string): Promise<string>;
  /** How it treats the keys that it publishes. */
  keys: KeyHabits;
  /** Its keys come over its own socket and sign nothing but its own tokens: which of its addresses those name as their issuer says nothing more. */
  anyIssuer: boolean;
  close(): Promise<void>;
};

/** Control publishes a key for as long as it counts, and takes out at once one that is revoked: with the grace, that counts within a minute. */
const CONTROL_KEYS: KeyHabits = { freshMs: 50_000, keptMs: 0 };
/** A Datagrok server publishes an old key for some 15 minutes, and its tokens live 30. */
const DATAGROK_KEYS: KeyHabits = { freshMs: 10 * 60_000, keptMs: 30 * 60_000 };

/** What control is asked as over its own socket. Where no public address is set, tokens bear this name as their issuer, whatever address a client has used. */
export const CONTROL_HOST = "berth";
const TIMEOUT_MS = 10_000;
/** A server that sends a byte now and then is never silent, and would keep its keys from ever being fetched anew. */
const WHOLE_ANSWER_MS = 30_000;
const LONGEST_ANSWER = 1_048_576;

export function controlKeys(socketPath: string): KeyServer {
  const agent = new Agent({ connect: { socketPath }, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS });
  return { keys: CONTROL_KEYS, anyIssuer: true, ...asking(agent, `http://${CONTROL_HOST}`, "The control plane") };
}

/** `url` is its API, with `/api`. `wholeMs`: how long an answer may take in all. */
export function datagrokKeys(url: string, wholeMs = WHOLE_ANSWER_MS): KeyServer {
  const agent = new Agent({ connect: { timeout: TIMEOUT_MS }, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS });
  const { origin, pathname } = new URL(url);
  const base = trimTrailing(pathname, "/").replace(/\/api$/, "");
  return { keys: DATAGROK_KEYS, anyIssuer: false, ...asking(agent, origin + base, "The Datagrok server", wholeMs) };
}

function asking(dispatcher: Agent, base: string, name: string, wholeMs = WHOLE_ANSWER_MS): Pick<KeyServer, "get" | "close"> {
  return {
    get: async (path) => {
      try {
        const { statusCode, body } = await request(base + path, {
          dispatcher,
          headers: { accept: "application/json" },
          signal: AbortSignal.timeout(wholeMs),
        });
        let text = "";
        for await (const piece of body.setEncoding("utf8")) {
          text += String(piece);
          if (text.length > LONGEST_ANSWER) throw new Fault("TOKEN_KEYS_UNKNOWN", `${name} answered ${path} with more than can be meant`);
        }
        if (statusCode !== 200) throw new Fault("TOKEN_KEYS_UNKNOWN", `${name} answered ${path} with ${statusCode}`, { retryAfterMs: 1_000 });
        return text;
      } catch (cause) {
        if (cause instanceof Fault) throw cause;
        throw new Fault("TOKEN_KEYS_UNKNOWN", `${name} cannot be asked for ${path}; it should be back in a moment`, { cause, retryAfterMs: 1_000 });
      }
    },
    close: () => dispatcher.destroy(),
  };
}
