const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const REGISTRY = `(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?`;
const PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const REFERENCE = new RegExp(
  `^(?:(?<registry>${REGISTRY})/)?(?<repository>${PART}(?:/${PART})*)(?::(?<tag>[\\w][\\w.-]{0,127}))?(?:@(?<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,128}))?$`,
);
const ONE_PART = new RegExp(`^${PART}$`);
const LONGEST = 512;

/** An image's name as engines and registries read it. `host`: undefined unless the name has one: `docker.io` is not filled in. */
export type ImageReference = { host: string | undefined; repository: string; tag: string | undefined; digest: string | undefined };

/** Undefined: the text is no name of an image. */
export function parseImageReference(text: string): ImageReference | undefined {
  const groups = text.length <= LONGEST ? (REFERENCE.exec(text)?.groups as Record<string, string | undefined> | undefined) : undefined;
  if (!groups) return undefined;
  const { registry, repository = "", tag, digest } = groups;
  // A first part without a dot or a colon is a namespace of the default registry (`datagrok/x`), not a host.
  if (registry === undefined || /[.:]/.test(registry) || registry === "localhost") return { host: registry, repository, tag, digest };
  return ONE_PART.test(registry) ? { host: undefined, repository: `${registry}/${repository}`, tag, digest } : undefined;
}
