import type { HttpClient, HttpReply } from "../../../lib/http-client.ts";
import type { RepositoryAsk, Upstream } from "./upstream.ts";

export type UpstreamAsked = RepositoryAsk & { method: "GET" | "HEAD" | "DELETE"; signal: AbortSignal } & {
  /** Below /v2/. */
  path: string;
  accept?: string;
};

/** One question to the registry behind with berth's own credential, asked once more where the registry wants another one. Faults: those of both. */
export async function askUpstream(
  upstream: Upstream,
  http: HttpClient,
  { repository, actions, method, path, accept, signal }: UpstreamAsked,
): Promise<HttpReply> {
  const ask = { repository, actions };
  const scheme = "tls" in upstream.target && upstream.target.tls !== undefined ? "https" : "http";
  const url = `${scheme}://${upstream.host}${upstream.basePath}/v2/${path}`;
  const send = (authorization: string | undefined) => {
    const headers = { ...(accept === undefined ? {} : { accept }), ...(authorization === undefined ? {} : { authorization }) };
    return http.request({ method, url, headers, signal });
  };
  const reply = await send(await upstream.authorization(ask, signal));
  if (reply.status !== 401) return reply;
  const another = await upstream.refused(ask, reply.header("www-authenticate"), signal);
  return another === undefined ? reply : send(another);
}
