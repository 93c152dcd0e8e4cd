import { hash } from "node:crypto";

/**
 * A digest that registries accept, without anchors: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests. sha384 is not in that list, but CNCF
 * Distribution takes it.
 */
export const DIGEST_PATTERN = "(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})";

const DIGEST = new RegExp(`^${DIGEST_PATTERN}$`);

/** The digest of a content, by the algorithm of the digest `like`. */
export function digestOf(content: string | Uint8Array, like = "sha256:"): string {
  const algorithm = like.slice(0, like.indexOf(":"));
  return `${algorithm}:${hash(algorithm, content)}`;
}

/** It may become a part of a path. */
export function isDigest(value: unknown): value is string {
  return typeof value === "string" && DIGEST.test(value);
}
