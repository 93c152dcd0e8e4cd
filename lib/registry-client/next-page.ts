/**
 * The path below /v2/ of the next page, as `Link: </v2/_catalog?last=x&n=500>; rel="next"` tells it; undefined on the last one. `path` is that of
 * the page before, on which a relative address leans. Only its path counts: a registry does not get to send berth's credential elsewhere. Source: OCI Distribution Specification, "Listing Tags".
 */
export function nextPage(link: string | undefined, path: string): string | undefined {
  const address = addressOfNext(link ?? "");
  const next = address === undefined ? null : URL.parse(address, `http://registry/v2/${path}`);
  if (next === null) return undefined;
  const { pathname, search } = next;
  const at = pathname.indexOf("/v2/");
  return at < 0 ? undefined : pathname.slice(at + "/v2/".length) + search;
}

/** Each part of the header is looked at once; a comma may stand within an address, but not in what follows it. */
function addressOfNext(link: string): string | undefined {
  for (let open = link.indexOf("<"); open >= 0;) {
    const close = link.indexOf(">", open);
    if (close < 0) return undefined;
    const comma = link.indexOf(",", close);
    const end = comma < 0 ? link.length : comma;
    const parameters = link.slice(close + 1, end);
    if (/^\s*;/.test(parameters) && /\brel="?next/i.test(parameters)) return link.slice(open + 1, close);
    open = link.indexOf("<", end);
  }
  return undefined;
}
