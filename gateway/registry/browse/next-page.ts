/**
 * The path below /v2/ of the next page, as `Link: </v2/_catalog?last=x&n=500>; rel="next"` tells it; undefined on the last one. `path` is that of
 * the page before, on which a relative address leans. Only its path counts: a registry does not get to send berth's credential elsewhere. Source: OCI Distribution Specification, "Listing Tags".
 */
export function nextPage(link: string | undefined, path: string): string | undefined {
  const address = /<([^>]+)>\s*;[^,]*\brel="?next"?/i.exec(link ?? "")?.[1];
  const next = address === undefined ? null : URL.parse(address, `http://registry/v2/${path}`);
  if (next === null) return undefined;
  const { pathname, search } = next;
  const at = pathname.indexOf("/v2/");
  return at < 0 ? undefined : pathname.slice(at + "/v2/".length) + search;
}
