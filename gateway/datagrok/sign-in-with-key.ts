import { Fault } from "../../lib/fault.ts";
import { type AskServer, serverAway } from "./ask-server.ts";

const LIMIT_MS = 10_000;

/** A session token for a developer key. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, DATAGROK_AWAY, DATAGROK_BROKE_OFF. */
export async function signInWithKey(server: AskServer, key: string, signal: AbortSignal): Promise<string> {
  const { status, said } = await server.ask("POST", "/users/login/dev", `Dev ${key}`, { signal, limitMs: LIMIT_MS });
  const { isSuccess, token } = (said ?? {}) as { isSuccess?: unknown; token?: unknown };
  if (status < 300 && isSuccess !== false && typeof token === "string" && token !== "") return token;
  if (status === 401 || status === 403 || isSuccess === false)
    throw new Fault("DEV_KEY_INVALID", "The Datagrok server does not take the developer key.");
  if (status === 429)
    throw new Fault("TOO_MANY_ATTEMPTS", "The Datagrok server was shown too many wrong developer keys; wait a little.", { retryAfterMs: 5_000 });
  if (status >= 500) throw serverAway(`answered the developer key with ${status}`);
  throw new Fault("DATAGROK_BROKE_OFF", `What is asked is no Datagrok server: it answered users/login/dev below its API with ${status}.`);
}
