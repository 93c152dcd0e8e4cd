import type { AskHttp, Asked, Said } from "./ask-http.ts";
import type { RepositoryAsk, Upstream } from "./upstream.ts";

export type UpstreamAsked = RepositoryAsk &
  Pick<Asked, "method" | "signal"> & {
    /** Below /v2/. */
    path: string;
    accept?: string;
  };

/** One question to the registry behind with berth's own credential, asked once more where the registry wants another one. Faults: those of both. */
export async function askUpstream(
  upstream: Upstream,
  http: AskHttp,
  { repository, actions, method, path, accept, signal }: UpstreamAsked,
): Promise<Said> {
  const ask = { repository, actions };
  const scheme = "tls" in upstream.target && upstream.target.tls !== undefined ? "https" : "http";
  const url = `${scheme}://${upstream.host}${upstream.basePath}/v2/${path}`;
  const send = (authorization: string | undefined) => {
    const headers = { ...(accept === undefined ? {} : { accept }), ...(authorization === undefined ? {} : { authorization }) };
    return http({ method, url, headers, signal });
  };
  const said = await send(await upstream.authorization(ask, signal));
  if (said.status !== 401) return said;
  const another = await upstream.refused(ask, said.header("www-authenticate"), signal);
  return another === undefined ? said : send(another);
}
