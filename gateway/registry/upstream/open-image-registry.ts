import { readImageName, type ImageName } from "./image-name.ts";
import type { ImageSource } from "./image-sources.ts";
import type { RegistryLogin } from "../../../lib/registry-client/registry-login.ts";

/** Looks images up for control, which sees it as drivers/driver.ts declares a registry. */
export type ImageRegistry = {
  /**
   * The full name and digest of an image: a short name is looked for in each registry in turn, a full one in its own. Undefined where none of them
   * has it, or where it names a registry that is not set up. A registry that fails ends the search: a later one may have another image of that
   * name. Faults: IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, UPSTREAM_CREDENTIAL_FAILED.
   */
  resolve(ref: string, call: { signal: AbortSignal }): Promise<{ reference: string; digest: string } | undefined>;
  /** What a reference may be in full, the likeliest first. */
  fullNames(ref: string): string[];
  login(host: string, call: { signal: AbortSignal }): Promise<RegistryLogin | undefined>;
  close(): Promise<void>;
};

export function openImageRegistry(sources: readonly ImageSource[]): ImageRegistry {
  const sourcesOf = ({ host }: ImageName) => (host === undefined ? sources : sources.filter((source) => source.is(host)));
  const fullName = (source: ImageSource, { host, repository, suffix }: ImageName) => `${host ?? source.host}/${source.nameOf(repository)}${suffix}`;
  return {
    resolve: async (ref, { signal }) => {
      const name = readImageName(ref);
      for (const source of sourcesOf(name)) {
        const digest = await source.digestOf(name, signal);
        if (digest !== undefined) return { reference: fullName(source, name), digest };
      }
      return undefined;
    },
    fullNames: (ref) => {
      const name = readImageName(ref);
      return sourcesOf(name).map((source) => fullName(source, name));
    },
    login: async (host, { signal }) => sources.find((source) => source.is(host))?.login(host, signal),
    close: async () => {
      await Promise.all(sources.map((source) => source.close()));
    },
  };
}
