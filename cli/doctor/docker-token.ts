import { ask, readJson } from "./send-request.ts";

export type TokenAsk = { key: string; service: string; scope?: string; certificate?: string | undefined; signal: AbortSignal };

/** A docker token of the server whose `/token` is at `url`, for a developer key; undefined where it makes none for that key. Faults: CHAIN_BROKEN. */
export async function askDockerToken(url: string, { key, service, scope, certificate, signal }: TokenAsk): Promise<string | undefined> {
  const query = new URLSearchParams({ service, ...(scope === undefined ? {} : { scope }) });
  const headers = { authorization: `Basic ${Buffer.from(`any:${key}`).toString("base64")}` };
  const { text } = await ask(`${url}?${query.toString()}`, { headers, certificate, signal });
  const { token } = (readJson(text) ?? {}) as { token?: unknown };
  return typeof token === "string" && token.split(".").length === 3 ? token : undefined;
}
