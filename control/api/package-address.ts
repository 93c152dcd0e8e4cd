/** The three shapes in which the address of a package comes; a scope begins with `@`, and what stands before a name otherwise is a key. */
export const PACKAGE_ADDRESSES = ["/packages/dev/:name", "/packages/dev/:first/:name", "/packages/dev/:key/:scope/:name"] as const;

export type PackageAddress = {
  /** With its scope, where it has one. */
  name: string;
  /** The developer key, which older clients put here. */
  key: string | undefined;
};

export function readPackageAddress(params: { key?: string; first?: string; scope?: string; name: string }): PackageAddress {
  const { key, first, scope, name } = params;
  if (scope !== undefined) return { name: `${scope}/${name}`, key };
  if (first?.startsWith("@")) return { name: `${first}/${name}`, key: undefined };
  return { name, key: first };
}
