/** What of the registry a request is for; `reference` is a tag, a digest or the name of an upload, byte for byte. */
export type V2Path =
  | { kind: "base" }
  | { kind: "catalog" }
  | { kind: "manifest" | "blob" | "upload" | "referrers"; repository: string; reference: string; tail: string }
  | { kind: "uploads" | "tags"; repository: string; reference?: undefined; tail: string };

/** Lower-case words between slashes, as the distribution specification has them: no `..`, and nothing that could be decoded into one. */
const WORD = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const NAME = `${WORD}(?:/${WORD})*`;
/** Tags, digests and names of uploads. A colon may come encoded; nothing else may, since it would be read anew behind us. */
const REFERENCE = "(?!\\.{1,2}$)(?:[\\w.:=+~-]|%3[Aa])+";
const LONGEST_NAME = 255;

/** What may stand behind a repository's name. The last match in a path counts, so that a repository may itself be called `a/blobs`. */
const TAILS = [
  ["manifest", `/manifests/(${REFERENCE})`],
  ["tags", "/tags/list"],
  ["referrers", `/referrers/(${REFERENCE})`],
  // Some registries name it so, against the specification.
  ["uploads", "/blobs/uploads?/?"],
  ["upload", `/blobs/uploads?/(${REFERENCE})`],
  ["blob", `/blobs/(${REFERENCE})`],
] as const;

const PATTERNS = TAILS.map(([kind, tail]) => [kind, new RegExp(`^/v2/(?<repository>${NAME})(?<tail>${tail})$`)] as const);

const IS_NAME = new RegExp(`^${NAME}$`);

export function isRepository(name: string): boolean {
  return name.length <= LONGEST_NAME && IS_NAME.test(name);
}

/** Reads a path without its query; undefined for one that is nothing of a registry's. */
export function readV2Path(path: string): V2Path | undefined {
  if (path === "/v2/" || path === "/v2") return { kind: "base" };
  if (path === "/v2/_catalog") return { kind: "catalog" };
  for (const [kind, pattern] of PATTERNS) {
    const found = pattern.exec(path);
    if (found === null) continue;
    const { repository = "", tail = "" } = found.groups ?? {};
    if (repository.length > LONGEST_NAME) return undefined;
    if (kind === "uploads" || kind === "tags") return { kind, repository, tail };
    return { kind, repository, reference: found[3] ?? "", tail };
  }
  return undefined;
}

/** A target in origin form, in its two parts: the query with its question mark, or nothing. */
export function splitTarget(target: string): { path: string; query: string } {
  const at = target.indexOf("?");
  return at === -1 ? { path: target, query: "" } : { path: target.slice(0, at), query: target.slice(at) };
}
